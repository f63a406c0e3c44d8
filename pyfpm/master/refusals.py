"""What the log says of bad input to one pool: the first few of each reason, then how many more.

Workers count in their slots and report the first few of each reason; these are thinned out once
more, since a pool may have many workers. The counters say how many there were in truth, so the last
ones are told of too, although their worker may sleep or be gone by then.

Clients that no list allows are told of in the same way. They have one counter and a few lines for
each list, so that a crowd at one listener does not hide who tries another.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyfpm.logs import Level, Log
from pyfpm.master.handles import WorkerHandle
from pyfpm.scoreboard.refusal import AllowList, Refusal

LINES_MOST = 5
WINDOW_S = 10.0
_LONGEST_PEER = 100
_MOST = 2**62
_REASONS: Mapping[str, Refusal | None] = {
    **{reason.value: reason for reason in Refusal},
    **dict.fromkeys(AllowList),
}


@dataclass(slots=True)
class _Window:
    """The present ten seconds of one counter; `known` was its value when it began.

    `lines` were written, by what they named.
    """

    known: int
    since_s: float | None = None
    lines: dict[str, int] = field(default_factory=dict)


class RefusalLog:
    """Of one pool. `count` gives the counters, which workers write; see PoolMemory."""

    def __init__(
        self,
        log: Log,
        count: Callable[[], Mapping[Refusal | None, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._count = count
        self._clock = clock
        self._windows = {reason: _Window(known) for reason, known in count().items()}

    def note(self, worker: WorkerHandle, reason: str, peer: str, text: str) -> None:
        """A worker has refused something that `peer` sent, or the peer itself."""
        if reason not in _REASONS:
            return
        window = self._windows[_REASONS[reason]]
        if window.since_s is None:
            window.since_s = self._clock()
        lines = window.lines.get(reason, 0)
        if lines >= LINES_MOST:
            return
        window.lines[reason] = lines + 1
        self._log.write(
            _level_of(_REASONS[reason]),
            "refused",
            f"child {worker.pid}: {text.splitlines()[0] if text else reason}"
            f" (from {peer[:_LONGEST_PEER]})",
            pid=worker.pid,
            reason=reason,
            peer=peer[:_LONGEST_PEER],
        )

    def tell(self, *, at_once: bool = False) -> None:
        """Say how many more there were; called once a second, and `at_once` at the end."""
        now_s = self._clock()
        for reason, count in self._count().items():
            window = self._windows[reason]
            if count == window.known:
                if window.since_s is not None and now_s - window.since_s >= WINDOW_S:
                    self._windows[reason] = _Window(count)
                continue
            if window.since_s is None:
                window.since_s = now_s
            if at_once or now_s - window.since_s >= WINDOW_S:
                self._close(reason, window, count)

    def _close(self, reason: Refusal | None, window: _Window, count: int) -> None:
        # A worker may write any number into its slot: smaller than before, too.
        more = min(max(0, count - window.known - sum(window.lines.values())), _MOST)
        if more:
            name = "client not allowed" if reason is None else reason.value.replace("_", " ")
            text = f"{more} more refused within {WINDOW_S:g} s: {name}"
            machine_name = name.replace(" ", "_")
            self._log.write(
                _level_of(reason), "refused_more", text, reason=machine_name, count=more
            )
        self._windows[reason] = _Window(count)


def _level_of(reason: Refusal | None) -> Level:
    return Level.ERROR if reason is None else Level.WARNING
