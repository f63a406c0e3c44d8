"""A path opened step by step, so that whose links it follows is known.

The kernel follows every symbolic link on a way without a word. Whoever makes one of them decides
where the way ends. Here each link is reported before it is followed, and what comes out is the
descriptor of the very file that the reported way led to: a link that is changed afterwards, or
between two looks, changes nothing any more.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyfpm.kernel.folders import MOST_LINKS, components

FileIdentity = tuple[int, int]
"""Device and inode of a file."""
OnLink = Callable[[str, os.stat_result, int], None]
"""Called with the path of a link, what fstat says of it, and the descriptor of its folder."""

_DEEPEST = 4096
_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Opened:
    """Where a path leads: its real path, a descriptor (O_PATH) of it, and one of a file's folder.

    Both descriptors are the caller's to close.
    """

    path: str
    descriptor: int
    folder: int | None

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self.descriptor)
        if self.folder is not None:
            os.close(self.folder)


def open_step_by_step(path: str, on_link: OnLink, root: str = "/") -> Opened:
    """Open an absolute path with O_PATH, one component at a time.

    `on_link` is called for each symbolic link before it is followed. `root` is the real path of the
    root folder of the process that `path` is for. OSError as open(2); its `filename` is the place
    that is missing, or the folder that refuses.
    """
    way = Opened(root, os.open(root, _PLACE), None)
    try:
        _walk(way, components(path), on_link, root)
    except BaseException:
        way.close()
        raise
    return way


def ancestors(way: Opened) -> Iterator[FileIdentity]:
    """The file itself, and every folder that it lies in up to the root, as they lie now."""
    if stat.S_ISDIR(os.fstat(way.descriptor).st_mode):
        yield from folders_above(way.descriptor)
        return
    yield _identity(way.descriptor)
    if way.folder is not None:
        yield from folders_above(way.folder)


def folders_above(folder: int) -> Iterator[FileIdentity]:
    """A folder given by its descriptor, and every folder above it.

    OSError with the path of the folder as `filename` that may not be entered.
    """
    here, known = os.dup(folder), None
    try:
        for _ in range(_DEEPEST):
            found = _identity(here)
            if found == known:  # the folder above the root is the root
                return
            yield found
            known = found
            above = _open_above(here)
            os.close(here)
            here = above
    finally:
        os.close(here)


def _open_above(folder: int) -> int:
    try:
        return os.open("..", _PLACE, dir_fd=folder)
    except OSError as error:
        with contextlib.suppress(OSError):  # without /proc there is no path to name
            error.filename = os.readlink(f"/proc/self/fd/{folder}")
        raise


def _walk(way: Opened, names: list[str], on_link: OnLink, root: str) -> None:
    links = 0
    while names:
        name = names.pop()
        if name == ".." and way.path == root:
            continue
        target = _step(way, name, on_link)
        if target is None:
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), way.path)
        if target.startswith("/"):
            _move(way, root, os.open(root, _PLACE))
        names += components(target)


def _step(way: Opened, name: str, on_link: OnLink) -> str | None:
    """Go on by one name; where it is a link, stay, and return what it says."""
    place = os.path.join(way.path, name)
    try:
        step = os.open(name, _PLACE, dir_fd=way.descriptor)
    except OSError as error:
        error.filename = way.path if error.errno == errno.EACCES else place
        raise
    facts = os.fstat(step)
    if stat.S_ISLNK(facts.st_mode):
        try:
            on_link(place, facts, way.descriptor)
            return os.readlink("", dir_fd=step)
        finally:
            os.close(step)
    _move(way, os.path.dirname(way.path) if name == ".." else place, step)
    return None


def _move(way: Opened, path: str, descriptor: int) -> None:
    if way.folder is not None:
        os.close(way.folder)
    way.path, way.folder, way.descriptor = path, way.descriptor, descriptor


def _identity(descriptor: int) -> FileIdentity:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino
