"""The C library's heap: giving back to the kernel what is free in the middle of it."""

import ctypes
import functools


def trim_heap() -> None:
    """Let go of free memory below the top of the heap, which the C library keeps otherwise.

    It takes about 0.1 ms for each MiB that goes. Nothing happens where the C library has no
    malloc_trim(3): it is glibc's own.
    """
    trim = _find_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _find_trim() -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
