"""A worker that asks for its replacement: pm.max_requests and pm.max_memory.

It says so and serves on until it is told to drain, which is when the replacement is ready.
"""

import os
from collections.abc import Callable

from pyfpm.messages import Due, RequestLimits
from pyfpm.runtime.orders import Orders
from pyfpm.scoreboard.slot import Word

_REPEAT_NS = 1_000_000_000
_REQUESTS = int(Word.REQUESTS)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM_BYTES = 128


class Recycling:
    """Looks after each request whether the worker is due; `words` are those of its slot."""

    def __init__(self, limits: RequestLimits, words: memoryview, orders: Orders) -> None:
        self._words = words
        self._orders = orders
        self._most_requests = 0
        if limits.max_requests:
            self._most_requests = draw_limit(limits.max_requests, limits.max_requests_jitter)
        self._most_bytes = limits.max_memory_bytes
        self._statm = -1
        if self._most_bytes:
            self._open_statm()
        self._next_ns = 0

    def look(self, now_ns: int) -> None:
        """Say that the worker is due, and again every second, since a full socket loses words."""
        if now_ns < self._next_ns:
            return
        if self._most_requests and self._words[_REQUESTS] >= self._most_requests:
            reason = "max_requests"
        elif self._statm >= 0 and self._resident_bytes() > self._most_bytes:
            reason = "max_memory"
        else:
            return
        self._next_ns = now_ns + _REPEAT_NS
        self._orders.tell(Due(reason))

    def _open_statm(self) -> None:
        """Kept open: /proc/self means whoever opened it, and this is after the fork.

        In a sandbox it cannot be opened, and the master passes it (messages.MemoryFile).
        """
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            self._orders.take_statm = self._take_statm
        except OSError as error:
            self._orders.log("warning", f"pm.max_memory: /proc/self/statm: {error.strerror}")

    def _take_statm(self, descriptor: int) -> None:
        self._orders.take_statm = None
        self._statm = descriptor

    def _resident_bytes(self) -> int:
        try:
            return int(os.pread(self._statm, _STATM_BYTES, 0).split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError) as error:
            # The application closed the descriptor, and its number may mean a file of its own.
            self._statm = -1
            self._orders.log("warning", f"pm.max_memory: /proc/self/statm was closed: {error}")
            return 0


def draw_limit(most: int, jitter: float, random_bytes: Callable[[int], bytes] = os.urandom) -> int:
    """`most` less a random part of up to `jitter` of it; at least 1.

    From the kernel: all workers of a pool inherit the same state of `random` from their zygote,
    and would be due together.
    """
    span = int(most * min(1.0, jitter))
    return max(1, most - int.from_bytes(random_bytes(8), "big") % (span + 1))
