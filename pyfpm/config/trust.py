"""Who can change the configuration of a master that is root, and so decide what root does.

A pool file names users, folders, logs and sockets, which root then makes, opens and gives away. As
cron and sudo do, a file is refused that anybody can change, or that a stranger has put where
everybody may. A file of another user, or of a group that may write it, is what somebody has set up
(in a container, a folder of the developer's): that is a notice. What is mounted read-only nobody
changes, whatever its modes: so Kubernetes mounts a ConfigMap, in a folder of mode 0777.
"""

import os
import stat
from collections.abc import Iterable, Iterator

from pyfpm.errors import Problem
from pyfpm.kernel.folders import find_exposure, find_exposures
from pyfpm.kernel.owner import is_owner_unknown, owner_of

_WHY = "and what stands in it is done with root's rights"


def check_files(files: Iterable[str], *, is_root: bool, allow_root: bool) -> Iterator[Problem]:
    """Files that must not be read, each by its own name.

    With `allow_root` the operator has said that there are no walls here: then it is a notice.
    """
    if is_root and not allow_root:
        yield from _open_files(files)


def notice_files(files: Iterable[str], *, is_root: bool, allow_root: bool) -> Iterator[Problem]:
    """Files that others than root can change or replace."""
    if not is_root:
        return
    files = [file for file in files if os.path.exists(file)]  # `pyfpm run` has none
    if allow_root:
        yield from _open_files(files)
    folders = {
        os.path.dirname(path): file
        for file in reversed(files)
        for path in (os.path.realpath(file), os.path.abspath(file))
    }
    for file in files:
        if not _is_read_only(file) and not _fault_of(file):
            yield from _say(file, _others(file))
    for folder, file in sorted(folders.items()):
        if _is_read_only(folder):
            continue
        exposure = find_exposure(folder, {os.geteuid()})
        if exposure is not None and exposure.owner is None:
            yield from _say(
                file,
                f"everybody can put another file in its place (mode {exposure.mode:04o} of"
                f" {exposure.path}), {_WHY}; run `chmod o-w {exposure.path}`",
            )
        else:
            yield from _say(file, _others(folder))


def _open_files(files: Iterable[str]) -> Iterator[Problem]:
    for file in files:
        yield from _say(file, _fault_of(file))


def _fault_of(file: str) -> str:
    """Why nobody should believe this file; empty where it is not there."""
    try:
        facts = os.stat(file)
    except OSError:
        return ""
    # Whom nobody in this container can be has put nothing there from within.
    for one in find_exposures(os.path.abspath(file), {os.geteuid()}):
        if one.owner is not None and not (
            _is_read_only(os.path.dirname(one.path)) or is_owner_unknown(one.path)
        ):
            return (
                f"user {one.owner} has made {one.path} where everybody may, {_WHY}; remove it, or"
                " use a folder that root alone can write"
            )
    if facts.st_mode & stat.S_IWOTH and not _is_read_only(file):
        mode = stat.S_IMODE(facts.st_mode)
        return f"everybody can write it (mode {mode:04o}), {_WHY}; run `chmod o-w {file}`"
    return ""


def _others(path: str) -> str:
    """Who besides root can change a file or folder: its owner, or a group; empty if nobody."""
    try:
        facts = os.stat(path)
    except OSError:  # it has been removed since it was read
        return ""
    mode = stat.S_IMODE(facts.st_mode)
    what = f"folder {path}" if stat.S_ISDIR(facts.st_mode) else "it"
    owner = owner_of(facts)
    if owner not in {0, os.geteuid()} and not is_owner_unknown(path):
        return f"{what} belongs to user {owner}, {_WHY}; run `chown root {path}`"
    if facts.st_gid != 0 and mode & stat.S_IWGRP and not mode & stat.S_ISVTX:
        group = f"group {facts.st_gid} can write {what} (mode {mode:04o})"
        return f"{group}, {_WHY}; run `chmod g-w {path}`"
    return ""


def _is_read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _say(file: str, message: str) -> Iterator[Problem]:
    if message:
        yield Problem(file, None, "", "", message)
