"""keyctl(2): the keyring of a session, which survives a change of user.

A login has one, and whoever descends from it possesses the keys in it: with a possessor's rights,
whatever user he has become since.
"""

import ctypes
import errno
import os
import sys

_JOIN_SESSION_KEYRING = 1
# The C library has no function for this call, and its number is not everywhere the same.
_COMMON = 219
_OTHERS = {"x86_64": 250, "ppc64": 271, "ppc64le": 271, "s390x": 280}
_ARM_32, _X86_32 = 311, 288
# No keys in this kernel, or a filter in front of it that holds for everybody below us as well.
_NOT_HERE = (errno.ENOSYS, errno.EPERM)

_libc = ctypes.CDLL(None, use_errno=True)


def leave_session_keyring() -> None:
    """Go on with a new, empty session keyring, which counts for the user of this moment.

    Nothing happens where nobody can use keys. OSError otherwise: EDQUOT where the user has as many
    as kernel.keys.maxkeys allows.
    """
    number = ctypes.c_long(_number_of(os.uname().machine, is_64_bit=sys.maxsize > 2**32))
    if _libc.syscall(number, ctypes.c_int(_JOIN_SESSION_KEYRING), None) < 0:
        error = ctypes.get_errno()
        if error not in _NOT_HERE:
            raise OSError(error, os.strerror(error), "session keyring")


def _number_of(machine: str, *, is_64_bit: bool) -> int:
    if is_64_bit:
        return _OTHERS.get(machine, _COMMON)
    return _ARM_32 if machine.startswith(("arm", "aarch")) else _X86_32
