"""Mounts: a folder as one of its own, a way in that leads nowhere else; and whose a mount is."""

import ctypes
import os
import re
from contextlib import suppress

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


def mount_of(descriptor: int) -> int:
    """The number of the mount that an open file lies on; the file system is not asked."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    raise OSError(f"the kernel does not say which mount descriptor {descriptor} is on")


def find_mounter(device: int) -> int | None:
    """The user other than root who made the mount that a file (st_dev) lies on; None without one.

    On a FUSE mount the owner of a file is what the mount's user says. On one of root, such as the
    root folder of some containers (fuse-overlayfs), that is root's word, as on any disk.
    """
    with suppress(OSError), open("/proc/self/mountinfo", "rb") as file:
        return parse_mounter(file.read(), device)
    return None


def parse_mounter(mountinfo: bytes, device: int) -> int | None:
    """The same from the text of /proc/self/mountinfo (proc(5))."""
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(b" - ")
        if source.startswith(b"fuse") and mount.split()[2:3] == [wanted]:
            user = re.search(rb"\buser_id=(\d+)", source)
            return int(user[1]) or None if user else None
    return None
