"""Who connected over a Unix socket: SO_PEERCRED (unix(7)).

The kernel notes the effective user of the process that calls connect(2), at that moment. What
becomes of the process or of its descriptor afterwards does not change it: a connection that a
server opened as root is root's, also after the server has become somebody else.
"""

import ctypes
import os
import socket

_libc = ctypes.CDLL(None, use_errno=True)
_OVERFLOW_UID = "/proc/sys/kernel/overflowuid"
_UID_MAP = "/proc/self/uid_map"
_ALL_IDS = 2**32 - 1


class _Credentials(ctypes.Structure):
    """Struct ucred."""

    _fields_ = (("pid", ctypes.c_int), ("uid", ctypes.c_uint), ("gid", ctypes.c_uint))


def read_peer(fd: int) -> tuple[int, int]:
    """User and process that connected; the process is 0 where it is of another pid namespace.

    One system call: a socket object around the descriptor would cost one more. OSError where the
    kernel does not say.
    """
    found = _Credentials()
    size = ctypes.c_uint(ctypes.sizeof(found))
    code = _libc.getsockopt(
        fd, socket.SOL_SOCKET, socket.SO_PEERCRED, ctypes.byref(found), ctypes.byref(size)
    )
    if code != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"SO_PEERCRED: {os.strerror(error)}")
    return found.uid, found.pid


def find_overflow_user() -> int | None:
    """The number under which every user appears whom this user namespace does not know.

    None where it knows all of them, as outside of containers (user_namespaces(7)).
    """
    try:
        with open(_UID_MAP, encoding="ascii") as file:
            known = sum(int(line.split()[2]) for line in file if line.strip())
        if known >= _ALL_IDS:
            return None
        with open(_OVERFLOW_UID, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError, IndexError):
        return 65534
