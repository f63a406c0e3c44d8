"""Processes by descriptor: a pid may be reused, a pidfd never means another process."""

import errno
import os
import signal


def open_child(pid: int) -> int | None:
    """A pidfd of `pid` if that process is a child of this one, else None.

    A pid that another process reports is a claim. waitid on the pidfd answers ECHILD for a
    process that is not our child, without reaping one that is (WNOWAIT; Linux 6.18). OSError
    where there is no descriptor left to look.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except (ProcessLookupError, OverflowError, ValueError):
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # no process, but a thread or a number below 1
            return None
        raise
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        os.close(pidfd)
        return None
    return pidfd


def has_ended(pidfd: int) -> bool:
    """Whether a child has ended; it is not reaped."""
    return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def send_signal(pidfd: int, signum: int) -> bool:
    """Signal the process behind `pidfd`; False if it is gone."""
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    return True
