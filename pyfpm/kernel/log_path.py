"""May the master write a log under this name? The master may be root, and the folder a tenant's.

Whoever can change a folder on the way decides which file is opened in the end: by a symbolic link,
a hard link to somebody else's file, or another folder in the place of this one. So nobody but root
and the master's own user may be able to, and then nothing can change between a look and the opening
either. `pyfpm check` and the opening ask the same questions, here.

In a container the folders at the top often belong to a user of the machine around it: `/` of a
rootless one, or what a volume is mounted into (kernel.owner). No process in here is or can be that
user, no pool is; and who owns `/` could exchange pyfpm itself. Should that be an ordinary user
out there, then so is this master, with as little to lose. That holds only where the owner of the
folder above put it there: in one where everybody may make another, as in /tmp, it may be anybody's.
"""

import os
import stat

from pyfpm.kernel.folders import way_to
from pyfpm.kernel.owner import is_owner_unknown, owner_of
from pyfpm.kernel.strangers import is_strangers_link

STDERR_NAMES = ("stderr", "/dev/stderr", "/proc/self/fd/2")
"""In containers people write the paths; opening those would follow a symbolic link."""


def find_folder_fault(folder: str) -> str:
    """Why no log may be written into `folder`; empty if one may.

    Of the folders above it, those of another user and those that everybody can write are refused,
    unless the master is an ordinary user, who has little to lose: `/var/log` belongs to a group on
    some systems. OSError where the folder cannot be looked at.
    """
    trusted = {0, os.geteuid()}
    for step in way_to(folder):
        found = os.lstat(step)
        if stat.S_ISLNK(found.st_mode):
            if is_strangers_link(found, os.path.dirname(step), trusted):
                owner = owner_of(found)
                return f"{step} is a symbolic link of user {owner}: name the folder itself"
        elif os.geteuid() == 0 and _is_open(step, stat.S_IWOTH):
            return _fault(step)
    if stat.S_ISLNK(found.st_mode):
        return f"{step} is one symbolic link too many: name the folder itself"
    return _fault(step) if _is_open(step, stat.S_IWGRP | stat.S_IWOTH) else ""


def find_file_fault(path: str, found: os.stat_result, *, by_workers: bool) -> str:
    """Why the file that was found in the log's place must not be written; empty if it may be.

    What the master writes itself is no FIFO: whoever reads that could have it wait. In a folder
    like /tmp others may have made a hard link to a file that they cannot write; elsewhere a second
    name is one that somebody gave to the log, and no reason to lose it.
    """
    if stat.S_ISFIFO(found.st_mode) and not by_workers:
        return "it is a FIFO, and whoever reads it could stop the master: name a file"
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link"
    if not _is_trusted(found):
        return f"it belongs to user {owner_of(found)}: remove it or log elsewhere"
    is_shared = os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH
    if is_shared and stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        return "the file has another name as well (a hard link): remove it or log elsewhere"
    return ""


def _is_trusted(found: os.stat_result) -> bool:
    return owner_of(found) in (0, os.geteuid())


def _is_open(folder: str, bits: int) -> bool:
    """Whether others can put something else in the place of what is in there."""
    found = os.stat(folder)
    if found.st_mode & bits and not found.st_mode & stat.S_ISVTX:
        return True
    return not (_is_trusted(found) or _is_from_outside(folder))


def _is_from_outside(folder: str) -> bool:
    """Whether it belongs to a user of the machine around this container, and is meant to be here.

    `/` is its own folder above.
    """
    above = os.stat(os.path.dirname(folder))
    is_meant = folder == "/" or not above.st_mode & stat.S_IWOTH
    return is_meant and is_owner_unknown(folder)


def _fault(folder: str) -> str:
    found = os.stat(folder)
    owned = f"{folder} belongs to user {owner_of(found)}"
    why = f"chmod go-w {folder}" if _is_trusted(found) else owned
    text = "others can write there: use a folder that only root or the master's user can write"
    return f"{text} ({why})"
