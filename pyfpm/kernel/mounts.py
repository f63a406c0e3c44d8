"""Folders as mounts of their own: a way in that leads nowhere else."""

import ctypes
import os

_OPEN_TREE = 428  # the same number on every architecture but alpha; ENOSYS before Linux 5.2
_AT_FDCWD = -100
_OPEN_TREE_CLONE = 1

_libc = ctypes.CDLL(None, use_errno=True)


def open_detached(path: str) -> int:
    """A descriptor of the folder `path` as the root of a mount that is mounted nowhere.

    Whoever has it reaches what lies in the folder and nothing beside or above it: `..` of its root
    is that root. A plain descriptor of a folder leads out of every chroot by openat(fd, "..").
    OSError; EPERM without CAP_SYS_ADMIN.
    """
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    number, folder = ctypes.c_long(_OPEN_TREE), ctypes.c_int(_AT_FDCWD)
    descriptor = _libc.syscall(number, folder, os.fsencode(path), flags)
    if descriptor < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), path)
    return int(descriptor)


def leads_out(folder: int) -> bool:
    """Whether `..` of the descriptor of a folder is another place than the folder itself."""
    here, above = os.stat(".", dir_fd=folder), os.stat("..", dir_fd=folder)
    return (here.st_dev, here.st_ino) != (above.st_dev, above.st_ino)
