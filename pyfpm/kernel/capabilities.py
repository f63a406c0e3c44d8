"""capabilities(7): the parts of root's power, which root may lack and others may have.

Root in a container lacks some. A change from root to another user takes all away, unless the
process was started with SECBIT_NO_SETUID_FIXUP; who is not root when it starts keeps what it was
given. Those that are inheritable or ambient then pass through every exec.
"""

import ctypes
import os
import struct

CAP_FOWNER = 3
CAP_KILL = 5

_VERSION_3 = 0x20080522
_HEADER = struct.Struct("=Ii")  # struct __user_cap_header_struct: version, pid (0: this thread)
# struct __user_cap_data_struct, twice: effective, permitted and inheritable of the numbers below
# 32, and the same of those above.
_SETS = struct.Struct("=6I")

_libc = ctypes.CDLL(None, use_errno=True)


def has_capability(number: int) -> bool:
    """Whether this process can use a capability now, in its own user namespace."""
    effective, _, _, effective_above, _, _ = _read_sets()
    return bool((effective_above << 32 | effective) >> number & 1)


def drop_capabilities() -> None:
    """Give up all of them for good, the ambient ones with the rest; OSError."""
    sets = ctypes.create_string_buffer(_SETS.pack(*[0] * 6), _SETS.size)
    _call(_libc.capset, sets)


def has_any_capability() -> bool:
    """Whether there is one left, in force or to be passed on."""
    return any(_read_sets())


def _read_sets() -> tuple[int, ...]:
    sets = ctypes.create_string_buffer(_SETS.size)
    _call(_libc.capget, sets)
    return _SETS.unpack(sets.raw)


def _call(function: "ctypes._NamedFuncPointer", sets: "ctypes.Array[ctypes.c_char]") -> None:
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION_3, 0), _HEADER.size)
    if function(header, sets) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{function.__name__}: {os.strerror(error)}")
