"""How much of what the processes of one pool print goes to the log, and what becomes of the rest.

What is printed costs the master: each look into a pipe, each write of the log, each line. So a pool
that prints without end could take the whole of it. A pool therefore has a budget, and a part in the
one of all pools (master.turns). While there is nothing left its pipes are not read, and whoever
prints waits, so a burst loses nothing. If that lasts for PATIENCE_S the pool is *flooded*: then
pipes that are full are emptied, and only the first lines of what was in them are written, so that
requests do not stand in a write for ever. One line in ten seconds says how many were dropped. What
waits in a pipe that is not full stops nobody, and is written in its turn, however late.

The last words of a process that has ended are kept apart, up to a bound: they are often the
traceback that explains its end. Where the pool or the master ends before their turn comes, their
last lines are written at once, and all else is counted.
"""

import math
import time
from collections.abc import Callable
from typing import Protocol

from pyfpm.logs import Log, takes_many_lines
from pyfpm.master.turns import Share
from pyfpm.units import counted

BYTES_PER_S = 4 * 1024 * 1024
ALL_BYTES_PER_S = 2 * BYTES_PER_S
"""Of all pools together: what two of them may have that print without end, or a hundred."""
ALL_BURST_BYTES = ALL_BYTES_PER_S / 20
READ_BYTES = 256
"""What it costs to look into a pipe and find something there."""
WRITE_BYTES = 512
"""What one write of the log costs, however many lines it has: some 20 microseconds."""
LINE_BYTES = 64
"""What a line costs besides its length: its prefix in the log, and half a microsecond.

So a pool may have 65,536 lines a second written. 100 workers that print nothing but line breaks
take an eighth of a core of the master with that. When each line had a write of its own and cost
512, it was a quarter of a core for 8,192 lines.
"""
PATIENCE_S = 5.0
SAY_EVERY_S = 10.0
LAST_WORDS_MOST = 64
"""Pipes of processes that have ended, whose last words wait for their turn."""
FINAL_BYTES = BYTES_PER_S // 4
"""What the last words that wait may cost at the end, some 40 ms; all pools may end at once."""
_CALM_S = 1.0


class LastWords(Protocol):
    """What waits of one stream of a process that has ended."""

    stream: str

    def end_now(self, most_bytes: int) -> int:
        """Write its last lines for about so much, whatever is left, and drop the rest: the cost.

        It is forgotten then.
        """
        ...


class Flow:
    """The output of one pool: the pipes of all its processes."""

    def __init__(self, log: Log, share: Share, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = share
        self._ended: dict[LastWords, None] = {}  # in turn
        self._log = log
        self._clock = clock
        self._lines = 0
        self._bytes = 0
        self._said_s = -math.inf
        self._dropped_s = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether a line may be written now that does not wait for its turn."""
        return self.share.left > 0

    @property
    def is_flooded(self) -> bool:
        """Whether what waits in full pipes is to be dropped.

        One that has dropped goes on with it until there is plenty again: its pipes are empty now
        and then, and nobody shall wait for PATIENCE_S after each time.
        """
        now_s, share = self._clock(), self.share
        if now_s - share.waiting_since_s >= PATIENCE_S:
            return True
        has_plenty = share.is_open and share.left >= BYTES_PER_S / 2
        return now_s - self._dropped_s < _CALM_S and not has_plenty

    @property
    def last_words(self) -> int:
        """Streams of processes that have ended, of which something waits for its turn."""
        return len(self._ended)

    def keep(self, words: LastWords) -> bool:
        """Whether these last words may wait; False where there are too many already."""
        if len(self._ended) >= LAST_WORDS_MOST:
            return False
        self._ended[words] = None
        return True

    def forget(self, words: LastWords) -> None:
        """They are written."""
        self._ended.pop(words, None)

    def finish(self) -> None:
        """Nobody will have a turn any more: write the end of what waits, and say what is dropped.

        Each stream has its part; standard error comes first, since tracebacks go there.
        """
        left = FINAL_BYTES
        for name in ("stderr", "stdout"):
            ended = [words for words in self._ended if words.stream == name]
            for number, words in enumerate(ended):
                left -= words.end_now(max(0, left) // (len(ended) - number))
        self.tell(at_once=True)

    def spend(self, size_bytes: int, lines: int = 1) -> None:
        """So much is written at once; paid for afterwards where it is more than what is left.

        `lines` are those that the log makes of it.
        """
        self.share.pay(cost_of(size_bytes, lines))

    def drop(self, size_bytes: int, lines: int = 1) -> None:
        """So much is not written."""
        self._dropped_s = self._clock()
        self._lines += lines
        self._bytes += size_bytes

    def tell(self, *, at_once: bool = False) -> None:
        """Say what was dropped since it was last said: once a second, and `at_once` at the end."""
        now_s = self._clock()
        if not (self._lines or self._bytes):
            return
        if not at_once and now_s - self._said_s < SAY_EVERY_S:
            return
        self._said_s = now_s
        text = (
            f"{counted(self._lines, 'line')} ({counted(self._bytes, 'byte')}) of output dropped:"
            f" workers print more than {BYTES_PER_S // cost_of_line()} lines or"
            f" {BYTES_PER_S // 2**20} MiB a second"
        )
        self._log.warning("output_dropped", text, lines=self._lines, bytes=self._bytes)
        self._lines = self._bytes = 0


def cost_of(size_bytes: int, lines: int) -> int:
    """What it costs to write so much, of which the log makes so many lines, at once if it can."""
    first = LINE_BYTES + WRITE_BYTES
    return size_bytes + first + (lines - 1) * cost_of_line()


def cost_of_line() -> int:
    """What one more line costs, besides its length."""
    return LINE_BYTES if takes_many_lines() else LINE_BYTES + WRITE_BYTES
