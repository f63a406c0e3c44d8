"""What the master knows of a zygote and of a worker, apart from what they do (DESIGN 1)."""

import asyncio
import os
import socket
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from pyfpm.config import PoolOptions
from pyfpm.errors import ProtocolError
from pyfpm.master.output import Emit, OutputPipe
from pyfpm.master.stacks import StackPipe
from pyfpm.master.state import SavedProcess
from pyfpm.messages import MAX_MESSAGE_BYTES, Message, decode_message, encode_message

if TYPE_CHECKING:
    from pyfpm.master.generation import Generation

_DRAIN_MOST = 256

OnMessage = Callable[[Message | None], None]
"""Called with each message, and with None when the process closed its end or broke the rules."""


class ControlLink:
    """The master's end of a control socket.

    `recv` has no ancillary buffer, so descriptors that a process attaches are dropped by the
    kernel. A message that does not decode ends the conversation: its sender is broken or hostile.
    """

    def __init__(self, sock: socket.socket, on_message: OnMessage) -> None:
        self._sock = sock
        self._on_message = on_message
        self._open = True
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    @property
    def descriptor(self) -> int | None:
        """The socket, for the next master; None where it has been hung up."""
        return self._sock.fileno() if self._open else None

    def send(self, message: Message, descriptors: list[int] | None = None) -> bool:
        """Whether the message left; a full socket or a dead process is False."""
        if not self._open:
            return False
        try:
            if descriptors:
                socket.send_fds(self._sock, [encode_message(message)], descriptors)
            else:
                self._sock.send(encode_message(message))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Hang up: the process on the other side sees the end of its master."""
        if self._open:
            self._open = False
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()

    def drain(self) -> None:
        """Read what is left of a process that has ended.

        Bounded: a child of it may hold the other end, and send without end.
        """
        for _ in range(_DRAIN_MOST):
            if not self._open or not self._read():
                return

    def _read(self) -> bool:
        try:
            data = self._sock.recv(MAX_MESSAGE_BYTES)
            message = decode_message(data) if data else None
        except BlockingIOError:
            return False
        except (OSError, ProtocolError):
            message = None
        if message is None:
            self.close()
        self._on_message(message)
        return message is not None


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

    def resume_process(self, saved: SavedProcess, on_message: OnMessage, emit: Emit) -> None:
        """Hold what the master before an exec held."""
        self.pidfd = saved.pidfd
        if saved.link is not None:
            self.link = ControlLink(socket.socket(fileno=saved.link), on_message)
        self.pipes = tuple(
            OutputPipe(pipe.stream, pipe.limit, emit, None, pipe) for pipe in saved.pipes
        )

    def booted(self) -> None:
        """Stop the clock of boot_timeout."""
        if self.boot_timer is not None:
            self.boot_timer.cancel()
            self.boot_timer = None

    def close(self) -> None:
        """Release everything; the process has ended."""
        self.booted()
        if self.link is not None:
            self.link.close()
        for pipe in self.pipes:
            pipe.drain()
            pipe.close()
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
        if self.drain_timer is not None:
            self.drain_timer.cancel()
        super().close()
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
