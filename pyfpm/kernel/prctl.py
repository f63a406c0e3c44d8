"""prctl(2): attributes that a process sets on itself."""

import ctypes
import os

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int | bytes) -> int:
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    zero = ctypes.c_ulong(0)
    answer = _libc.prctl(option, argument, zero, zero, zero)
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl {option}: {os.strerror(error)}")
    return int(answer)


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


def has_no_new_privs() -> bool:
    """Whether that is so."""
    return _prctl(_PR_GET_NO_NEW_PRIVS, 0) == 1


def set_name(name: str) -> None:
    """The thread's short name (`comm`); the kernel keeps the first 15 bytes."""
    _prctl(_PR_SET_NAME, name.encode())
