"""Making room for a Unix socket at a path where something may stand already."""

import errno
import os
import socket
import stat
import struct

from pyfpm.errors import SpawnError


def clear_stale_socket(path: str) -> None:
    """Remove a socket file that nobody listens on.

    SpawnError if somebody does, or if the file is no socket; nothing happens where no file is.
    """
    try:
        before = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(before.st_mode):
        raise SpawnError("a file that is no socket stands there: remove it or listen elsewhere")
    if is_answered(path):
        raise SpawnError("another server answers there: stop it or listen elsewhere")
    # If another master replaces the stale socket between the look and the unlink, its new file is
    # left alone: it has another inode. What remains is the instant between these two lines.
    after = os.lstat(path)
    if (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino):
        os.unlink(path)


def answering_pid(path: str) -> int | None:
    """The process that called listen(2) on the Unix socket `path`; None where that is unknown."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != 0:
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    # struct ucred: pid, uid, gid; the pid is 0 for a process of another pid namespace.
    pid, _, _ = struct.unpack("iII", credentials)
    return int(pid) or None


def is_answered(path: str) -> bool:
    """Whether a server listens on the Unix socket `path`; OSError where that cannot be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is EAGAIN, which is somebody's backlog
        code = probe.connect_ex(path)
    if code in (errno.ECONNREFUSED, errno.ENOENT):
        return False
    if code in (0, errno.EAGAIN):
        return True
    raise OSError(code, os.strerror(code))


def change_access(
    path: str, identity: tuple[int, int], mode: int, owner: tuple[int, int] | None
) -> None:
    """Give the file of a bound socket a mode and, unless None, an owner (uid, gid; -1 stays).

    `identity` is its device and inode. The file is opened first and compared with that, so that no
    symbolic link that somebody put in its place is followed. OSError where it is not possible.
    """
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(found)
        if (facts.st_dev, facts.st_ino) != identity:
            raise FileNotFoundError(errno.ENOENT, "its file has been replaced")
        itself = f"/proc/self/fd/{found}"
        os.chmod(itself, mode)
        if owner is not None:
            os.chown(itself, *owner)
    finally:
        os.close(found)
