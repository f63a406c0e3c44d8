"""A fork whose child is this process's image with somebody else's job."""

import os
import signal
from collections.abc import Callable
from typing import NoReturn


def has_ended(pid: int) -> bool:
    """Whether a child that nobody has reaped yet has ended; it is not reaped here."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def fork(child: Callable[[], NoReturn]) -> int:
    """Run `child` in a fork, with signals blocked until it unblocks them; the pid."""
    every = signal.valid_signals()
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, every)
    try:
        pid = os.fork()
        if pid == 0:
            child()
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
