"""What the master cannot do without, tried before it touches anything.

An old kernel lacks a system call, and the seccomp filter of a container refuses what is newer than
itself, as ENOSYS or as EPERM. Whatever else may be missing costs a feature, which says so itself.
"""

import errno
import os
import signal
from collections.abc import Callable
from typing import TypeVar

from pyfpm.errors import SpawnError
from pyfpm.kernel.memfd import create_sealed_copy

_PROC = "/proc/self/fd"
_T = TypeVar("_T")


def require_kernel() -> None:
    """SpawnError with the first thing that is missing, and where it can be had."""
    if not os.path.isdir(_PROC):
        raise SpawnError("there is no /proc here: mount it (mount -t proc proc /proc)")
    own = _try("pidfd_open", "5.3", lambda: os.pidfd_open(os.getpid()))
    try:
        _try("pidfd_send_signal", "5.1", lambda: signal.pidfd_send_signal(own, 0))
        _try("waitid with P_PIDFD", "5.4", lambda: _wait_for(own))
    finally:
        os.close(own)
    # Its seals tell more than that it is there.
    os.close(_try("memfd_create with seals", "3.17", lambda: create_sealed_copy("pyfpm", b" ")))


def _try(call: str, since: str, action: Callable[[], _T]) -> _T:
    try:
        return action()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise SpawnError(f"{call}: {error.strerror}") from error
        raise SpawnError(
            f"{call}: {error.strerror}: pyfpm does not work without it; it takes Linux {since}, and"
            " in a container a seccomp profile that allows it"
        ) from error


def _wait_for(pidfd: int) -> None:
    """Nobody is one's own child, and the kernel says so where it knows what was asked."""
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return
