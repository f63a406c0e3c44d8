"""Processes by descriptor: a pid may be reused, a pidfd never means another process."""

import errno
import os
import select
import signal
import time

_LOOK_S = 0.02


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


def reap_within(pidfd: int, timeout_s: float) -> int | None:
    """Reap a child: its exit code, or minus the signal that ended it; None if that takes longer.

    A child that has ended (pidfd readable) is not always there to be reaped: who traces it, which
    may be a process that it made itself, has it first and need not let go. And one that waits for a
    FUSE server does not end even when it is killed. waitpid would wait for either without end.
    """
    deadline_s = time.monotonic() + timeout_s
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    while (found := os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)) is None:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return None
        if poller.poll(left_s * 1000):
            time.sleep(min(_LOOK_S, left_s))
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def send_signal(pidfd: int, signum: int) -> bool:
    """Signal the process behind `pidfd`; False if it is gone."""
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    return True
