"""What `ps` shows of a process: the memory that the kernel gave argv is overwritten in place.

/proc/self/stat names that memory (fields 48 and 49, proc(5)). With a last byte other than NUL the
kernel takes the area for a title and shows it up to the first NUL. Nothing is moved or enlarged,
so a title is cut to the room that argv had.
"""

import ctypes
import functools

from pyfpm.kernel.prctl import set_name


def set_title(title: str) -> None:
    """Show `title` as this process's command line, as far as it fits; never raises."""
    try:
        set_name(title.removeprefix("pyfpm: ").removeprefix("pool "))
        start, end = _argv_area()
    except (OSError, ValueError, IndexError):
        return
    room = end - start
    if room < 8:
        return
    text = title.encode()[: room - 2]
    ctypes.memmove(start, text.ljust(room - 1, b"\0") + b".", room)


def title_of(pid: int) -> str:
    """What ps shows of a process; empty for one that is gone, and for a zombie."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
            return cmdline.read(4096).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


@functools.cache  # the same in every process that is forked from this one
def _argv_area() -> tuple[int, int]:
    with open("/proc/self/stat", "rb") as stat:
        # The second field is the name in parentheses and may hold blanks.
        values = stat.read().rpartition(b")")[2].split()
    start, end = int(values[45]), int(values[46])
    if not 0 < start < end:
        raise ValueError("the kernel does not say where argv is")
    return start, end
