"""What workers say to their master, and how much of it is believed.

Each thing counts once: a second Ready would call a degraded pool well again, and a late Draining
would bring a worker back that is being killed. Words that end up in counters and logs come from
closed sets. What a worker may say as often as it likes costs a look of the policy at most every
LOOK_EVERY_S, and lines for the log are paid for from the budget of its pool.
"""

import asyncio
import signal
from typing import TYPE_CHECKING

from pyfpm.logs import Level
from pyfpm.master.endings import BOOT, TIMEOUT, UNKNOWN
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.link import OnMessage
from pyfpm.messages import (
    BootFailed,
    Draining,
    Due,
    LinesLost,
    LogLine,
    Message,
    Ready,
    Refused,
    Saturated,
)

if TYPE_CHECKING:
    from pyfpm.master.workers import WorkerKeeper

LOOK_EVERY_S = 0.02
_DUE_REASONS = frozenset({"max_requests", "max_memory"})
_DRAIN_REASONS = frozenset(
    {*signal.Signals.__members__, TIMEOUT, "out_of_memory", "the master is gone"}
)


class Ear:
    """Hears the workers of one pool."""

    def __init__(self, keeper: "WorkerKeeper") -> None:
        self._keeper = keeper
        self._soon: asyncio.TimerHandle | None = None
        self._looked_s = 0.0

    def listener(self, worker: WorkerHandle) -> OnMessage:
        """Who hears what this worker says."""

        def listen(message: Message | None) -> None:
            match message:
                case None:
                    self._keeper.hung_up(worker)
                case Saturated():
                    self._look_soon()
                case LogLine() | LinesLost() | Refused():
                    self._note(worker, message)
                case _:
                    self._follow(worker, message)

        return listen

    def _follow(self, worker: WorkerHandle, message: Message) -> None:
        """What changes the worker's state."""
        match message:
            case Ready(boot_s, preloaded, _) if not worker.was_ready:
                self._keeper.is_ready(worker, boot_s, preloaded=preloaded)
            case BootFailed(text) if not (worker.was_ready or worker.leaves_for):
                worker.leaves_for = BOOT
                worker.generation.boots.boot_failed(text, worker.spawned_s)
            case BootFailed() if not worker.was_ready and worker.leaves_for != BOOT:
                pass  # it was told to go meanwhile
            case Draining(reason):
                self._drains(worker, reason if reason in _DRAIN_REASONS else UNKNOWN)
            case Due(reason):
                if not worker.due:
                    worker.due = reason if reason in _DUE_REASONS else UNKNOWN
                    self._keeper.look()
            case _:  # not for the master, or not a second time
                if worker.link is not None:
                    what = type(message).__name__
                    worker.link.refuse(f"{what} is not for a worker to say now")

    def _drains(self, worker: WorkerHandle, reason: str) -> None:
        """It drains by itself; what one says that was told to end already is late."""
        worker.leaves_for = worker.leaves_for or reason
        if worker.serves:
            worker.state = WorkerState.DRAINING
            self._keeper.bound_drain(worker)
            self._keeper.look()

    # -- looking ----------------------------------------------------------------------------

    def _look_soon(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._looked_s + LOOK_EVERY_S - loop.time()
        if wait_s <= 0:
            self._look()
        elif self._soon is None:
            self._soon = loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self._looked_s = asyncio.get_running_loop().time()
        self._keeper.look()

    # -- writing ----------------------------------------------------------------------------

    def _note(self, worker: WorkerHandle, message: LogLine | LinesLost | Refused) -> None:
        match message:
            case LogLine(level, text):
                self._say(worker, level, text)
            case Refused(reason, peer, text):
                self._keeper.refusals.note(worker, reason, peer, text)
            case LinesLost(lines, reason) if access := worker.generation.access_log:
                access.note_lost(lines, reason)
            case _:
                pass  # of an access log that there is not

    def _say(self, worker: WorkerHandle, level: str, text: str) -> None:
        try:
            severity = Level.named(level)
        except ValueError:
            severity = Level.WARNING
        flow = self._keeper.flow
        if flow.is_open:
            flow.spend(len(text), 1 + text.count("\n"))
            text = f"child {worker.pid}: {text}"
            self._keeper.log.write(severity, "worker", text, pid=worker.pid)
        else:
            flow.drop(len(text))
