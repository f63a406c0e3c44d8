"""The way to a file, and who else could put another file in its place.

Whoever can write a folder can rename what stands in it, and a socket that is exchanged gets
everything that the web server sends. The sticky bit (/tmp) protects what is there, not a name that
is still free: there the first to make a folder owns all that comes into it.
"""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pyfpm.kernel.owner import owner_of

MOST_LINKS = 40
"""As many symbolic links as the kernel follows before ELOOP (path_resolution(7))."""
MOST_STEPS = 2048
"""As many as a path of 4,096 bytes can have; forty links of such would take a tenth of a second."""


def make_folder(path: str, mode: int) -> None:
    """Make a folder with just this mode, unless it is there; OSError where that is not possible.

    The mode comes with the folder: a chmod afterwards might meet what somebody put in its place.
    """
    umask = os.umask(0o777 & ~mode)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
    finally:
        os.umask(umask)


def way_to(path: str, root: str = "/") -> Iterator[str]:
    """Every folder and symbolic link on the way to `path` from `root` on, and where it ends.

    Links are followed one by one, as for a process with that root folder. It ends early where there
    are too many of them, or of steps, and does not ask whether a place exists.
    """
    waiting = components(path)
    place, links = root, 0
    yield place
    for _ in range(MOST_STEPS):
        if not waiting:
            return
        name = waiting.pop()
        if name == "..":
            place = place if place == root else os.path.dirname(place)
            yield place
            continue
        step = os.path.join(place, name)
        yield step
        target = _read_link(step)
        if not target:
            place = step
            continue
        links += 1
        if links > MOST_LINKS:
            return
        if target.startswith("/"):
            place = root
            yield place
        waiting += components(target)


def _read_link(path: str) -> str:
    """Where a symbolic link leads; empty for what is none, or is none any more."""
    try:
        return os.readlink(path)
    except OSError:  # looking first would leave a moment in which it changes
        return ""


def real_path(path: str) -> str:
    """Where a path leads; what does not exist of it stays as it is written.

    As os.path.realpath, which calls itself once for every link, and so ends with a RecursionError
    where somebody has made a thousand of them. The kernel follows MOST_LINKS.
    """
    missing: list[str] = []
    place = path.rstrip("/") or "/"
    while True:
        try:
            descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            if place == os.path.dirname(place):
                return path
            place, name = os.path.split(place)
            missing.insert(0, name)
            continue
        try:
            return os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), *missing)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Exposure:
    """A place on the way that is not safe. `owner` has made it where everybody may; else None.

    Without `owner` everybody can exchange whatever stands in it.
    """

    path: str
    mode: int
    owner: int | None

    def __str__(self) -> str:
        if self.owner is None:
            return (
                f"everybody can write {self.path} (mode {self.mode:04o}), and so put another socket"
                f" in the place of this one; run `chmod o-w {self.path}`"
            )
        return (
            f"{self.path} belongs to user {self.owner}, who has made it where everybody may and can"
            " put another socket in the place of this one; remove it, or use another folder"
        )


def find_exposure(folder: str, trusted: Collection[int]) -> Exposure | None:
    """The first place on the way to `folder`, or itself, where a stranger rules, or None."""
    return next(find_exposures(folder, trusted), None)


def find_exposures(path: str, trusted: Collection[int]) -> Iterator[Exposure]:
    """Every place on the way to `path`, or itself, where a stranger rules.

    `trusted` are the users who may; root always may. Owners elsewhere, and groups, are what
    somebody has set up, and are not judged. A place that does not exist is not judged either.
    """
    for place in way_to(path):
        try:
            above, facts = os.stat(os.path.dirname(place)), os.lstat(place)
        except OSError:
            return
        mode = stat.S_IMODE(facts.st_mode)
        if above.st_mode & stat.S_IWOTH and (owner := owner_of(facts)) not in {0, *trusted}:
            yield Exposure(place, mode, owner)
        if stat.S_ISDIR(facts.st_mode) and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield Exposure(place, mode, None)


def is_in_hands_of(trusted: Collection[int], path: str, root: str = "/") -> bool:
    """Whether nobody but `trusted` decides whether `path` is there, and who gets to it.

    Looks at everything on the way that exists, for a process with that root folder. What is missing
    can have been removed by whoever may write the folder that it is missing from. That goes further
    than `find_exposure`, which leaves alone what an operator has set up with owners and groups.
    """
    ways = [way_to(root)] if root != "/" else []
    for way in (*ways, way_to(path, root)):
        folder = None
        for place in way:
            try:
                facts = os.lstat(place)
            except OSError:
                return folder is None or not is_shared(folder)
            is_sticky = facts.st_mode & stat.S_ISVTX
            if owner_of(facts) not in trusted or (is_shared(facts) and not is_sticky):
                return False
            folder = facts
    return True


def is_for_everybody(folder: str) -> bool:
    """Whether everybody may make files in it, as in /tmp."""
    try:
        return bool(os.stat(folder).st_mode & stat.S_IWOTH)
    except OSError:
        return False


def is_shared(facts: os.stat_result) -> bool:
    """Whether others than its owner may write a folder.

    An access list shows in the group's part of the mode, so that part counts whatever the group is.
    """
    return stat.S_ISDIR(facts.st_mode) and bool(facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def components(path: str) -> list[str]:
    """The names of a path, last one first."""
    return [name for name in reversed(path.split("/")) if name not in {"", "."}]
