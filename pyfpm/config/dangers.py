"""Values that are possible, and hardly meant: each takes a wall away that the pool seems to have.

Every rule here must keep quiet on an ordinary machine. A notice that is wrong once is not read
again.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pyfpm.config.draft import Draft
from pyfpm.config.options import PoolOptions
from pyfpm.config.reach import Person, find_refusal, may_replace
from pyfpm.config.values import Sandbox
from pyfpm.errors import Problem
from pyfpm.kernel.folders import real_path

_OF_THE_OWNER = 0o700


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A path, where it stands, and where its last link leads: looked up once for all pools."""

    path: str
    place: str
    real: str

    @classmethod
    def of(cls, path: str) -> "Whereabouts":
        """As the machine is now."""
        folder, name = os.path.split(path)
        return cls(path, os.path.join(real_path(folder), name, ""), _with_slash(path))

    def is_in(self, folder: str) -> bool:
        """Whether it is, or lies in, `folder`, which ends in a slash and holds no links."""
        return self.place.startswith(folder) or self.real.startswith(folder)


def notice_pool(
    draft: Draft, pool: PoolOptions, person: Person | None, files: Sequence[Whereabouts]
) -> Iterator[Problem]:
    """Notices of one pool; `person` is whom it runs as, `files` are those of the configuration."""
    if pool.umask is not None and pool.umask & _OF_THE_OWNER:
        yield draft.problem(
            "umask",
            f"{pool.umask:04o} takes from the pool's user what it makes itself; write 0022, or 0077"
            " to keep others out",
        )
    if pool.chroot is not None and real_path(pool.chroot) == "/":
        yield draft.problem(
            "chroot",
            f"{pool.chroot} is the root folder already: it keeps nothing away; leave it out",
        )
    if pool.sandbox is not Sandbox.OFF and pool.chroot is None:
        yield from _notice_directory(draft, pool)
        yield from _notice_written(draft, pool, person, files)


def notice_default_directories(
    pools: Sequence[tuple[Draft, PoolOptions, Person | None]],
) -> Iterator[Problem]:
    """Sandboxed pools that may read the files of other pools, since these lie in their folder."""
    files = {file: Whereabouts.of(file) for file in {other.header.file for other, _, _ in pools}}
    for draft, pool, person in pools:
        if pool.sandbox is Sandbox.OFF or pool.chroot is not None or "directory" in draft.entries:
            continue
        folder = _with_slash(pool.directory)
        others = [
            other.header.file
            for other, _, _ in pools
            if other is not draft
            and files[other.header.file].is_in(folder)
            and person is not None
            and find_refusal(os.path.abspath(other.header.file), person, "r") is None
        ]
        if others:
            yield draft.problem(
                "directory",
                f"is not set, so it is the folder of this file, {pool.directory}: the sandbox lets"
                f" the pool read {others[0]}, which holds another pool; name the application's own"
                " folder",
            )


def _notice_directory(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    if real_path(pool.directory) == "/":
        yield draft.problem(
            "directory",
            f"{pool.directory} is the whole machine, and the sandbox lets all of it be read; name"
            " the application's own folder",
        )


def _notice_written(
    draft: Draft, pool: PoolOptions, person: Person | None, files: Iterable[Whereabouts]
) -> Iterator[Problem]:
    """What a sandbox had better not let be written; the first of it for each path."""
    for path in pool.sandbox_write:
        folder = _with_slash(path)
        if folder == "/":
            yield draft.problem(
                "sandbox.write", f"{path} is the whole machine; list the folders that hold data"
            )
        elif Whereabouts.of("/etc").is_in(folder):
            yield draft.problem(
                "sandbox.write",
                f"{path} holds what the system is configured by; list the folders that hold data",
            )
        elif held := _held(folder, pool, person, files):
            yield draft.problem(
                "sandbox.write", f"{path} holds {held}; list the folders that hold data"
            )


def _held(
    folder: str, pool: PoolOptions, person: Person | None, files: Iterable[Whereabouts]
) -> str:
    """What of value the pool's user could change below `folder`; empty if nothing."""
    for file in files:
        if file.is_in(folder) and may_replace(file.path, person):
            return f"the configuration ({file.path}), where the pool could switch its sandbox off"
    if Whereabouts.of(pool.python).is_in(folder) and may_replace(pool.python, person):
        return f"the pool's interpreter ({pool.python}), which the pool could replace for good"
    return ""


def _with_slash(path: str) -> str:
    return os.path.join(real_path(path), "")
