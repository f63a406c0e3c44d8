"""What the time limits do to a worker, so that they can be tested without one."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyfpm.kernel.pidfd import send_signal
from pyfpm.kernel.process import resident_bytes
from pyfpm.master.handles import WorkerHandle
from pyfpm.master.processes import Processes
from pyfpm.master.traces import parse_stacks, render_stacks
from pyfpm.messages import ReservedSignal
from pyfpm.scoreboard import Board, Stage

_TRACE_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Acts:
    """Five effects.

    `collect` asks for stacks and calls back with them, empty if the worker does not answer;
    `interrupt` has RequestTimeout raised; `end` kills, and takes the reason.
    """

    collect: Callable[[WorkerHandle, Callable[[str], None]], None]
    interrupt: Callable[[WorkerHandle], None]
    poke: Callable[[WorkerHandle], None]
    end: Callable[[WorkerHandle, str], None]
    resident_bytes: Callable[[int], int] = resident_bytes


def act_on_processes() -> Acts:
    """The acts of a running master."""
    waiting: set[asyncio.Task[None]] = set()  # the loop itself keeps no task alive

    def collect(worker: WorkerHandle, then: Callable[[str], None]) -> None:
        async def ask() -> None:
            then(await read_stacks(worker))

        task = asyncio.create_task(ask())
        waiting.add(task)
        task.add_done_callback(waiting.discard)

    def interrupt(worker: WorkerHandle) -> None:
        if worker.pidfd is not None:
            send_signal(worker.pidfd, ReservedSignal.REQUEST_TIMEOUT)

    def end(worker: WorkerHandle, _: str) -> None:
        Processes.end(worker, signal.SIGKILL)

    return Acts(collect, interrupt, Processes.poke, end)


async def read_stacks(worker: WorkerHandle) -> str:
    """What faulthandler writes in the worker now; empty if it does not answer.

    Before a worker is ready it has no handler, and the signal would end it.
    """
    if worker.pidfd is None or worker.stacks is None or not worker.was_ready:
        return ""
    return await worker.stacks.collect(worker.pidfd)


async def trace_worker(worker: WorkerHandle, board: Board) -> str:
    """What a worker is doing: a line about it, then its stacks."""
    text = await read_stacks(worker)
    slot = board.read(worker.slot)
    line = f"pid {worker.pid}, {slot.stage.name.lower()}"
    since_s = slot.stage_since_s
    if slot.stage in (Stage.RUNNING, Stage.FINISHING):
        line += f", {slot.method} {slot.uri}"
        since_s = slot.request_started_s
    lasts_s = max(0.0, time.monotonic() - since_s)
    stacks = render_stacks(parse_stacks(text), _TRACE_DEPTH)
    return f"{line}, {lasts_s:.3f} s\n{stacks or '  (no answer)'}"
