"""What a pool's `chroot` must hold. The interpreter is executed inside it, so it is no bare folder.

Looked at from outside, without entering it: `pyfpm check` as root tries it in earnest as well.
"""

import os
from collections.abc import Callable, Iterator

from pyfpm.config.advice import advise
from pyfpm.config.draft import Draft
from pyfpm.config.options import PoolOptions
from pyfpm.config.reach import Person, find_refusal, locate
from pyfpm.errors import Problem
from pyfpm.kernel.folders import real_path

# What applications rely on without knowing; none of it is needed by pyfpm itself.
_EXPECTED = (
    "dev/null",
    "dev/urandom",
    "etc/hosts",
    "etc/localtime",
    "etc/nsswitch.conf",
    "etc/passwd",
    "etc/resolv.conf",
    "etc/ssl/certs",
    "tmp",
    "usr/share/zoneinfo",
)


def notice_chroot(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """What a complete root would have."""
    if pool.chroot is None or not os.path.isdir(pool.chroot):
        return
    root = real_path(pool.chroot)
    missing = [name for name in _EXPECTED if not os.path.lexists(os.path.join(root, name))]
    if missing:
        yield draft.problem(
            "chroot",
            f"has no {', '.join(f'/{name}' for name in missing)}: make what the application needs"
            " of them",
        )


def check_chroot(draft: Draft, pool: PoolOptions, person: Person | None) -> Iterator[Problem]:
    """The root folder, and in it the interpreter, the directory, and /proc."""
    root = real_path(pool.chroot or "/")
    if not os.path.isdir(root):
        wrong = "is not a folder" if os.path.exists(root) else "does not exist"
        yield draft.problem("chroot", f"{pool.chroot} {wrong}; name the folder of a complete root")
        return
    if not os.path.exists(os.path.join(root, "proc", "self", "fd")):
        yield draft.problem(
            "chroot",
            f"there is no /proc in it, through which pyfpm itself comes in: run `mkdir -p"
            f" {root}/proc; mount -t proc proc {root}/proc`",
        )
    yield from _check_inside(draft, pool, root, person, "directory", pool.directory, os.path.isdir)
    yield from _check_inside(draft, pool, root, person, "python", pool.python, os.path.isfile)


def _check_inside(
    draft: Draft,
    pool: PoolOptions,
    root: str,
    person: Person | None,
    option: str,
    path: str,
    is_right: Callable[[str], bool],
) -> Iterator[Problem]:
    if option in draft.failed:
        return
    if not is_right(locate(path, root)):
        what = "folder" if option == "directory" else "interpreter"
        said = "" if option in draft.entries else ", the default,"
        yield draft.problem(
            option,
            f"there is no {what} {path}{said} inside the root folder {pool.chroot}; with chroot,"
            " write the path as it is in there",
        )
        return
    letters = "rx" if option == "directory" else "x"
    refusal = None if person is None else find_refusal(path, person, letters, root)
    if person is not None and refusal is not None:
        yield draft.problem(
            option,
            f"user {person.name} cannot reach {path} inside the root folder {pool.chroot}:"
            f" {refusal.path} has mode {refusal.mode:04o}; {advise(refusal, path, root)}",
        )
