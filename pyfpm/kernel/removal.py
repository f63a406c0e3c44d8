"""Removing a folder that belongs to somebody who may not want it removed.

Folders in folders are as deep as their owner likes: deeper than Python recurses, than a process has
descriptors, than a path may be long. So nothing is descended into: each folder in the top one is
emptied, and the folders in it are moved up beside it, to be emptied in their turn. That takes two
descriptors and never goes `..`, which the owner could have lead elsewhere meanwhile.

No symbolic link is followed, and no mount is entered: somebody else's files may be mounted there,
or a server that never answers (FUSE), for which even SIGKILL waits.
"""

import os
import secrets
import stat
from contextlib import suppress

from pyfpm.kernel.mounts import mount_of

_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ALL = stat.S_IRWXU
_TRIES = 3  # entries may be passed over while others of the folder are removed


def remove_tree(path: str) -> None:
    """Remove a folder with all that is in it; what cannot be removed stays, without a word."""
    above = os.open(os.path.dirname(path), _PLACE)
    try:
        with suppress(OSError):
            top = open_on_same_mount(os.path.basename(path), above, open_up=True)
            try:
                _empty(top)
            finally:
                os.close(top)
            os.rmdir(os.path.basename(path), dir_fd=above)
    finally:
        os.close(above)


def open_on_same_mount(name: str, above: int, *, open_up: bool = False) -> int:
    """A descriptor of a folder in another; OSError where it is none, or where a mount covers it.

    With `open_up` its owner gets all rights to it first. Nothing here waits for a FUSE server.
    """
    place = os.open(name, _PLACE, dir_fd=above)
    try:
        if mount_of(place) != mount_of(above):
            raise BlockingIOError(f"{name} is a mount")
        if open_up and os.fstat(place).st_mode & _ALL != _ALL:
            os.chmod(f"/proc/self/fd/{place}", _ALL)
        # Not by its name, which might be another's by now; "." goes into no mount.
        return os.open(".", _FOLDER, dir_fd=place)
    finally:
        os.close(place)


def _empty(top: int) -> None:
    waiting = [(name, _TRIES) for name in os.listdir(top)]
    while waiting:
        name, tries = waiting.pop()
        try:
            os.unlink(name, dir_fd=top)
        except IsADirectoryError:
            with suppress(OSError):
                waiting += [(moved, _TRIES) for moved in _flatten(name, top)]
            if not _is_gone(name, top) and tries:
                waiting.insert(0, (name, tries - 1))
        except OSError:
            continue


def _is_gone(name: str, top: int) -> bool:
    try:
        os.rmdir(name, dir_fd=top)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _flatten(name: str, top: int) -> list[str]:
    """Remove the files in a folder, and move the folders in it up; their new names."""
    moved = []
    folder = open_on_same_mount(name, top, open_up=True)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    os.unlink(entry.name, dir_fd=folder)
                except IsADirectoryError:
                    with suppress(OSError):
                        moved.append(_move_up(entry.name, folder, top))
                except OSError:
                    continue
    finally:
        os.close(folder)
    return moved


def _move_up(name: str, folder: int, top: int) -> str:
    new = secrets.token_hex(16)
    try:
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=top)
    except PermissionError:  # to move a folder takes the right to write it
        os.close(open_on_same_mount(name, folder, open_up=True))
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=top)
    return new
