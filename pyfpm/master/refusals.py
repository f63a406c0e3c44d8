"""What the log says of bad input to one pool: the first few of each reason, then how many more.

Workers count in their slots and report the first few of each reason; these are thinned out once
more, since a pool may have many workers. The counters say how many there were in truth.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyfpm.logs import Log
from pyfpm.master.handles import WorkerHandle
from pyfpm.scoreboard.refusal import Refusal

LINES_MOST = 5
WINDOW_S = 10.0
_LONGEST_PEER = 100
_MOST = 2**62


@dataclass(slots=True)
class _Window:
    """The present ten seconds of one reason; `known` was the counter when it began."""

    since_s: float | None = None
    lines: int = 0
    known: int = 0


class RefusalLog:
    """Of one pool. `count` gives the counters, which workers write."""

    def __init__(
        self,
        log: Log,
        count: Callable[[], Mapping[Refusal, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._count = count
        self._clock = clock
        self._windows = {reason: _Window(known=count) for reason, count in count().items()}

    def note(self, worker: WorkerHandle, reason: str, peer: str, text: str) -> None:
        """A worker has refused something that `peer` sent."""
        if reason not in set(Refusal):
            return
        window = self._windows[Refusal(reason)]
        if window.since_s is None:
            window.since_s = self._clock()
        if window.lines >= LINES_MOST:
            return
        window.lines += 1
        self._log.warning(
            "refused",
            f"child {worker.pid}: {text.splitlines()[0] if text else reason}"
            f" (from {peer[:_LONGEST_PEER]})",
            pid=worker.pid,
            reason=reason,
            peer=peer[:_LONGEST_PEER],
        )

    def tell(self) -> None:
        """Say how many more there were; called once a second."""
        now_s = self._clock()
        for reason, count in self._count().items():
            window = self._windows[reason]
            if count == window.known:
                if window.since_s is not None and now_s - window.since_s >= WINDOW_S:
                    window.since_s, window.lines = None, 0
                continue
            if window.since_s is None:
                window.since_s = now_s
            if now_s - window.since_s >= WINDOW_S:
                self._close(reason, window, count)

    def _close(self, reason: Refusal, window: _Window, count: int) -> None:
        # A worker may write any number into its slot: smaller than before, too.
        more = min(max(0, count - window.known - window.lines), _MOST)
        if more:
            name = reason.value.replace("_", " ")
            text = f"{more} more refused within {WINDOW_S:g} s: {name}"
            self._log.warning("refused_more", text, reason=reason.value, count=more)
        window.since_s, window.lines, window.known = None, 0, count
