"""How much of what the processes of one pool say goes to the log, and what becomes of the rest.

Every line costs the master some 20 microseconds, so a pool that prints without end could take the
whole of it. A pool therefore has a budget. While it is used up its pipes are not read, and whoever
prints waits, so a burst loses nothing. If that lasts for PATIENCE_S the pool is *flooded*: then its
pipes are read on, at a bounded rate, and the lines beyond the budget are dropped and counted, so
that requests do not stand in a write for ever. One line in ten seconds says how many were dropped.
"""

import time
from collections.abc import Callable

from pyfpm.logs import Log
from pyfpm.master.budget import Budget

BYTES_PER_S = 4 * 1024 * 1024
LINE_BYTES = 512
"""What a line costs besides its length: the log's own work, in bytes."""
PATIENCE_S = 5.0
SAY_EVERY_S = 10.0
_CALM_S = 1.0
_NEVER = float("inf")


class Flow:
    """The budget of one pool, shared by the pipes and control sockets of all its processes."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._budget = Budget(BYTES_PER_S, BYTES_PER_S, clock)
        self._dry_s = _NEVER  # since when there was nothing left whenever somebody asked
        self._lines = 0
        self._bytes = 0
        self._said_s = -_NEVER
        self._dropped_s = -_NEVER

    @property
    def is_open(self) -> bool:
        """Whether a line may be written now."""
        now_s, left = self._clock(), self._budget.left
        if left >= BYTES_PER_S / 2 and now_s - self._dropped_s >= _CALM_S:
            self._dry_s = _NEVER
        elif left <= 0:
            self._dry_s = min(self._dry_s, now_s)
        return left > 0

    @property
    def is_flooded(self) -> bool:
        """Whether what may not be written is to be dropped; until then it waits."""
        return self._clock() - self._dry_s >= PATIENCE_S

    def spend(self, size_bytes: int, lines: int = 1) -> None:
        """So much is written; paid for afterwards where it is more than what is left."""
        self._budget.take(size_bytes + lines * LINE_BYTES)

    def drop(self, size_bytes: int, lines: int = 1) -> None:
        """So much is not written."""
        self._dropped_s = self._clock()
        self._lines += lines
        self._bytes += size_bytes

    def tell(self) -> None:
        """Say what was dropped since it was last said; called once a second."""
        now_s = self._clock()
        if not (self._lines or self._bytes) or now_s - self._said_s < SAY_EVERY_S:
            return
        self._said_s = now_s
        text = (
            f"{self._lines} lines ({self._bytes} bytes) of output dropped: workers print more than"
            f" {BYTES_PER_S // LINE_BYTES} lines or {BYTES_PER_S // 2**20} MiB a second"
        )
        self._log.warning("output_dropped", text, lines=self._lines, bytes=self._bytes)
        self._lines = self._bytes = 0
