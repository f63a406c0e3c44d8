"""Whose a file really is, where the number of its owner does not tell.

A user namespace knows the users that it maps. Files of all others appear as those of the overflow
user, 65534, and that number tells nothing: most containers map it too, as their own `nobody`. The
kernel knows: O_NOATIME is for a file's owner, and for who has CAP_FOWNER over it, and capabilities
of a namespace do not reach files of users that it does not map (user_namespaces(7)). Asked by fcntl
this changes nothing, and no file system has a say in it (setfl in fs/fcntl.c, Linux 6.18).

Outside of user namespaces nobody is unknown: what looks so there is a mount with ids of its own
(mount_setattr(2)), and its owner can be anybody who reaches the same files by another mount.

On a FUSE mount of a user the owners of files are that user's inventions.
"""

import fcntl
import os
from collections.abc import Callable

from pyfpm.kernel.capabilities import CAP_FOWNER, has_capability
from pyfpm.kernel.mounts import find_mounter
from pyfpm.kernel.peer_credentials import find_overflow_user


def owner_of(facts: os.stat_result, mounter_of: Callable[[int], int | None] = find_mounter) -> int:
    """The user who decides what a file is; `mounter_of` is asked about its device (st_dev)."""
    mounter = mounter_of(facts.st_dev)
    return facts.st_uid if mounter is None else mounter


def is_owner_unknown(path: str) -> bool:
    """Whether no process of this user namespace can be the owner of a file or folder.

    False also where that cannot be told: without CAP_FOWNER, or for what may not be read.
    """
    if find_overflow_user() is None or not has_capability(CAP_FOWNER):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_NOATIME)
    except PermissionError:
        return True
    finally:
        os.close(descriptor)
    return False
