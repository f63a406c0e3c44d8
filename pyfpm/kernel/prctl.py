"""prctl(2): attributes that a process sets on itself."""

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int | bytes) -> None:
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, argument, zero, zero, zero) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl {option}: {os.strerror(error)}")


def set_parent_death_signal(signum: int) -> None:
    """Send this process `signum` when its parent dies.

    The caller compares os.getppid() before and after: a parent that died in between sends
    nothing. The setting does not survive a fork or a change of credentials.
    """
    _prctl(_PR_SET_PDEATHSIG, signum)


def set_child_subreaper() -> None:
    """Become the parent of descendants whose own parent has died."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_no_new_privs() -> None:
    """No exec by this process or its children can gain privileges from here on."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(*, dumpable: bool) -> None:
    """Whether the process leaves core dumps and may be traced by its own user."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def set_name(name: str) -> None:
    """The thread's short name (`comm`); the kernel keeps the first 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode())
