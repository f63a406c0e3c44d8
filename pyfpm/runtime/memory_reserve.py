"""Memory set aside for the moment when there is none: the answer and the log line need some.

Mapped and never touched, so it costs no memory, only room below rlimit_as. That is what can run
out with a MemoryError; the limit of a cgroup kills instead.
"""

import mmap

# More than the piece that CPython's allocator asks the kernel for (an arena, 1 MiB since 3.10).
_RESERVE_BYTES = 4 << 20


class MemoryReserve:
    """Given back once, by a worker that leaves afterwards."""

    def __init__(self) -> None:
        self._reserve: mmap.mmap | None = None
        try:
            self._reserve = mmap.mmap(-1, _RESERVE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, MemoryError):  # so little room that the worker is better off without
            return

    def release(self) -> None:
        """Make room."""
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None
