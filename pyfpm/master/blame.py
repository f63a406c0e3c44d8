"""Which limit is to blame where a process cannot be started, or fails to boot.

What a process says that has run into a limit names no limit: a MemoryError, a loader that cannot
map a library, a death without a word. Whoever reads it looks for the fault in the interpreter.
"""

import errno

from pyfpm.config import PoolOptions
from pyfpm.units import format_size

# What an interpreter maps to start, with some room: one that dies without a word below this did
# not get far. (CPython 3.11 with pyfpm maps 25 MiB.)
_SMALL_BYTES = 256 * 1024 * 1024
_DIED = " while it booted"
_OF_MEMORY = ("MemoryError", "Cannot allocate memory", "failed to map segment", "error return with")
_OF_FILES = ("Too many open files",)
_OF_PROCESSES = ("can't start new thread", "Resource temporarily unavailable")


def name_limit(text: str, options: PoolOptions) -> str:
    """The text of a failed boot, with the limit of the pool that it is likely to have hit."""
    last = text.rstrip().rpartition("\n")[2]
    limit = _likely_limit(last, options)
    if not limit or limit.partition(" ")[0] in last:
        return text
    return f"{text.rstrip()} ({limit} is the likely cause: raise it)"


def _likely_limit(last: str, options: PoolOptions) -> str:
    memory = options.rlimit_as
    if memory is not None and memory >= 0:
        died_early = last.endswith(_DIED) and memory < _SMALL_BYTES
        if died_early or any(words in last for words in _OF_MEMORY):
            return f"rlimit_as = {format_size(memory)}"
    if options.rlimit_files is not None and any(words in last for words in _OF_FILES):
        return f"rlimit_files = {options.rlimit_files}"
    if options.rlimit_nproc is not None and any(words in last for words in _OF_PROCESSES):
        return f"rlimit_nproc = {options.rlimit_nproc}"
    return ""


def name_shortage(error: OSError) -> str:
    """Why a worker could not be asked for, and what would help."""
    match error.errno:
        case errno.EMFILE:
            return f"{error.strerror}: raise rlimit_files"
        case errno.ETOOMANYREFS:
            return (
                f"{error.strerror}: too many descriptors lie unread in sockets: find the pool whose"
                " zygote does not answer, raise rlimit_files, or give the master CAP_SYS_RESOURCE"
            )
        case errno.EAGAIN:
            return "the zygote does not read what it is sent"
        case _:
            return str(error.strerror)


def name_unread(descriptors: int) -> str:
    """What is wrong with a pool that has left so many descriptors in sockets."""
    return (
        f"processes that its zygotes or workers left behind hold {descriptors} descriptors of the"
        " master's unread: end them"
    )
