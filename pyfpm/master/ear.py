"""What workers say to their master, and how much of it is believed.

Each thing counts once: a second Ready would call a degraded pool well again, and a late Draining
would bring a worker back that is being killed. Words that end up in counters and logs come from
closed sets. What a worker may say as often as it likes costs a look of the policy at most every
LOOK_EVERY_S. Its pool pays for looks and for lines in the log as for messages (master.turns).
"""

import asyncio
import math
import signal
import time
from typing import TYPE_CHECKING

from pyfpm.logs import Level, count_lines
from pyfpm.master.endings import BOOT, TIMEOUT, UNKNOWN
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.link import POOL_MESSAGES_PER_S, OnMessage
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
_LATE_S = 1.0
_SAY_LATE_EVERY_S = 60.0
_CHARACTERS_OF_A_LINE = 512
"""A line that a worker has written costs as much as a message, and so does each further piece."""
_LINES_OF_A_MESSAGE = 8
"""A text of many lines costs the log far less than as many texts."""
_LOOKS_MOST_PER_S = POOL_MESSAGES_PER_S / 2
"""What looks may cost, so that messages are heard beside them in a pool of many workers."""
_COST_OF_A_LOOK = 0.5
"""In messages, for each worker that is looked at; ten more for the rest."""
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
        self._said_late_s = -math.inf

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
            case Ready() | BootFailed() if worker.state is WorkerState.ENDING:
                # It was given up, for boot_timeout for example, and answers between that and its
                # death. Believed, this Ready would have the worker whose place it was to take
                # drain for it; and neither of them breaks a rule.
                worker.booted()
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
        every_s = max(LOOK_EVERY_S, self._cost_of_a_look / _LOOKS_MOST_PER_S)
        wait_s = self._looked_s + every_s - loop.time()
        if wait_s <= 0:
            self._look()
        elif self._soon is None:
            self._soon = loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        self.cancel_look()
        self._looked_s = asyncio.get_running_loop().time()
        self._keeper.messages.pay(self._cost_of_a_look)
        self._keeper.look()

    @property
    def _cost_of_a_look(self) -> float:
        return _COST_OF_A_LOOK * (10 + len(self._keeper.by_serial))

    def cancel_look(self) -> None:
        """Forget the look that is planned; at the end of the pool, too."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def tell(self) -> None:
        """Say that messages wait for long; called once a second."""
        if self._keeper.messages.late_s < _LATE_S:
            return
        now_s = time.monotonic()
        if now_s - self._said_late_s >= _SAY_LATE_EVERY_S:
            self._said_late_s = now_s
            text = f"workers send more than {POOL_MESSAGES_PER_S:g} messages a second, or more than"
            text += " the master has time for: they are heard late"
            self._keeper.log.warning("heard_late", text)

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
        cost = len(text) / _CHARACTERS_OF_A_LINE + count_lines(text) / _LINES_OF_A_MESSAGE
        self._keeper.messages.pay(cost)
        self._keeper.log.write(severity, "worker", f"child {worker.pid}: {text}", pid=worker.pid)
