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

# As many symbolic links as the kernel follows before ELOOP (path_resolution(7)).
_MOST_LINKS = 40


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
    are too many of them, and does not ask whether a place exists.
    """
    waiting = _components(path)
    place, links = root, 0
    yield place
    while waiting:
        name = waiting.pop()
        if name == "..":
            place = place if place == root else os.path.dirname(place)
            yield place
            continue
        step = os.path.join(place, name)
        yield step
        if not os.path.islink(step):
            place = step
            continue
        links += 1
        if links > _MOST_LINKS:
            return
        target = os.readlink(step)
        if target.startswith("/"):
            place = root
            yield place
        waiting += _components(target)


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
    """The first place on the way to `folder`, or itself, where a stranger rules, or None.

    `trusted` are the users who may; root always may. Owners elsewhere, and groups, are what
    somebody has set up, and are not judged. A place that does not exist is not judged either.
    """
    for place in way_to(folder):
        try:
            above, facts = os.stat(os.path.dirname(place)), os.lstat(place)
        except OSError:
            return None
        mode = stat.S_IMODE(facts.st_mode)
        if above.st_mode & stat.S_IWOTH and facts.st_uid not in {0, *trusted}:
            return Exposure(place, mode, facts.st_uid)
        if stat.S_ISDIR(facts.st_mode) and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return Exposure(place, mode, None)
    return None


def _components(path: str) -> list[str]:
    """The names of a path, last one first."""
    return [name for name in reversed(path.split("/")) if name not in {"", "."}]
