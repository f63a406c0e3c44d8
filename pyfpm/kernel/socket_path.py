"""Making room for a Unix socket at a path where something may stand already."""

import errno
import os
import socket
import stat

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
