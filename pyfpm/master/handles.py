"""What the master knows of a zygote and of a worker, apart from what they do (DESIGN 1)."""

import asyncio
import os
import socket
from enum import Enum
from typing import TYPE_CHECKING

from pyfpm.config import PoolOptions
from pyfpm.master.flow import Flow
from pyfpm.master.link import WORKER_MESSAGES_PER_S, ControlLink, OnMessage
from pyfpm.master.orders import Orders
from pyfpm.master.output import Emit, OutputPipe
from pyfpm.master.stacks import StackPipe
from pyfpm.master.state import SavedProcess
from pyfpm.master.turns import Share

if TYPE_CHECKING:
    from pyfpm.master.generation import Generation


class WorkerState(Enum):
    """A worker as the master has decided about it; the slot says what it is doing."""

    BOOTING = "booting"
    SERVING = "serving"
    DRAINING = "draining"
    ENDING = "ending"


class _ProcessHandle:
    """The descriptors that the master holds for one process."""

    def __init__(self) -> None:
        self.pidfd: int | None = None
        self.link: ControlLink | None = None
        self.pipes: tuple[OutputPipe, ...] = ()
        self.boot_timer: asyncio.TimerHandle | None = None

    def save_process(self, pid: int | None) -> SavedProcess:
        """What is held of it, for the next master."""
        return SavedProcess(
            pid=pid,
            pidfd=self.pidfd,
            link=None if self.link is None else self.link.descriptor,
            pipes=tuple(saved for pipe in self.pipes if (saved := pipe.save()) is not None),
            boot_ends_s=None if self.boot_timer is None else self.boot_timer.when(),
        )

    def resume_process(
        self,
        saved: SavedProcess,
        on_message: OnMessage,
        emit: Emit,
        flow: Flow,
        messages: Share,
        messages_per_s: float = WORKER_MESSAGES_PER_S,
    ) -> None:
        """Hold what the master before an exec held."""
        self.pidfd = saved.pidfd
        if saved.link is not None:
            sock = socket.socket(fileno=saved.link)
            self.link = ControlLink(sock, on_message, messages, messages_per_s)
        self.pipes = tuple(
            OutputPipe(pipe.stream, pipe.limit, emit, None, flow, pipe) for pipe in saved.pipes
        )

    def booted(self) -> None:
        """Stop the clock of boot_timeout."""
        if self.boot_timer is not None:
            self.boot_timer.cancel()
            self.boot_timer = None

    def close_pipes(self) -> None:
        """Take what is left of the output."""
        for pipe in self.pipes:
            pipe.drain()
            pipe.close()
        self.pipes = ()

    def close(self) -> None:
        """Release everything; the process has ended."""
        self.booted()
        if self.link is not None:
            self.link.close()
        self.close_pipes()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


class WorkerHandle(_ProcessHandle):
    """One worker: from the request to spawn it until its death is reaped."""

    def __init__(
        self, serial: int, slot: int, spawned_s: float, generation: "Generation", luck: float = 0.0
    ) -> None:
        """`luck` from 0 to 1 decides how much earlier than others it is replaced (jitter)."""
        super().__init__()
        self.serial = serial
        self.slot = slot
        self.spawned_s = spawned_s
        self.generation = generation
        self.luck = luck
        self.state = WorkerState.BOOTING
        self.pid: int | None = None
        self.was_ready = False
        self.zygote: ZygoteHandle | None = None
        self.drain_timer: asyncio.TimerHandle | None = None
        self.due = ""  # why it is to be replaced; empty if it is not
        self.replacement: WorkerHandle | None = None  # boots in order to take its place
        self.replaces: WorkerHandle | None = None
        self.leaves_for = ""  # why it was told to go; empty for a death nobody asked for
        self.stacks: StackPipe | None = None
        self.closed = False

    @property
    def options(self) -> PoolOptions:
        """What its generation was started with."""
        return self.generation.options

    @property
    def serves(self) -> bool:
        """Whether it takes requests, or will."""
        return self.state in (WorkerState.BOOTING, WorkerState.SERVING)

    def close(self) -> None:
        """Release everything; the process has ended."""
        self.closed = True
        if self.drain_timer is not None:
            self.drain_timer.cancel()
        super().close()

    def close_pipes(self) -> None:
        """Take what is left of the output, and what is left of stacks."""
        super().close_pipes()
        if self.stacks is not None:
            self.stacks.close()


class ZygoteHandle(_ProcessHandle):
    """One zygote: `ready` once workers can be asked for."""

    def __init__(self, generation: int, started_s: float, *, preloads: bool) -> None:
        super().__init__()
        self.generation = generation
        self.started_s = started_s
        self.preloads = preloads
        self.pid = 0
        self.ready = False
        self.failed = False  # it said why; its end is no news
        self.orders = Orders()

    def close(self) -> None:
        """Release everything; the process has ended."""
        self.orders.close()
        super().close()
