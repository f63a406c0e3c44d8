"""The folders and files that the processes of a pool need, as its user sees them.

As all that asks about the machine, it looks and changes nothing.
"""

import os
from collections.abc import Iterator

from pyfpm.config.accounts import person_of
from pyfpm.config.advice import advise
from pyfpm.config.draft import Draft
from pyfpm.config.options import PoolOptions
from pyfpm.config.reach import Person, Refusal, find_refusal, locate
from pyfpm.config.root_folder import check_chroot
from pyfpm.config.values import Sandbox
from pyfpm.errors import Problem
from pyfpm.kernel.folders import real_path

_IN_A_VENV = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore"}


def check_pool(draft: Draft, pool: PoolOptions, *, is_root: bool) -> Iterator[Problem]:
    """Every place that one pool needs."""
    person = person_of(pool, is_root=is_root)
    if pool.chroot is not None:
        yield from check_chroot(draft, pool, person)
    else:
        if "directory" not in draft.failed:
            yield from _check_directory(draft, pool.directory, person)
        if "python" not in draft.failed:
            yield from _check_python(draft, pool.python, person)
    if pool.sandbox is not Sandbox.OFF:
        yield from _check_sandbox(draft, pool, person)


def _check_directory(draft: Draft, path: str, person: Person | None) -> Iterator[Problem]:
    if not os.path.isdir(path):
        wrong = "is not a folder" if os.path.exists(path) else _absence(path)
        yield draft.problem("directory", f"{path} {wrong}; create it or name another")
        return
    refusal = None if person is None else find_refusal(path, person, "rx")
    if person is not None and refusal is not None:
        message = _refused(refusal, person, path)
        yield draft.problem("directory", f"{message}, or move the application elsewhere")


def _check_python(draft: Draft, path: str, person: Person | None) -> Iterator[Problem]:
    wrong = _no_python(path)
    if wrong:
        yield draft.problem("python", wrong)
        return
    refusal = None if person is None else find_refusal(path, person, "x")
    if person is None or refusal is None:
        return
    message = _refused(refusal, person, path)
    if "python" in draft.entries:
        yield draft.problem("python", f"{message}, or name an interpreter elsewhere")
    else:
        yield draft.problem(
            "python",
            f"the default is the master's own interpreter, and {message}, or set python ="
            f" to an interpreter or venv that {person.name} can reach",
        )


def _check_sandbox(draft: Draft, pool: PoolOptions, person: Person | None) -> Iterator[Problem]:
    """A rule holds for what is there when the pool starts, so its user must get to all of it."""
    root = "/" if pool.chroot is None else real_path(pool.chroot)
    where = "" if pool.chroot is None else f" inside the root folder {pool.chroot}"
    lists = {
        "sandbox.read": pool.sandbox_read,
        "sandbox.write": pool.sandbox_write,
        "sandbox.execute": pool.sandbox_execute,
    }
    for option, paths in lists.items():
        for path in paths if os.path.isdir(root) else ():
            refusal = None if person is None else find_refusal(path, person, "", root)
            if person is not None and refusal is not None:
                message = _refused(refusal, person, path, root)
                yield draft.problem(option, f"{message}{where}, or leave it out")
            elif _is_missing(locate(path, root)):
                yield draft.problem(
                    option, f"{path} does not exist{where}; create it or leave it out"
                )


def _is_missing(path: str) -> bool:
    """Whether there is nothing; what cannot be seen by who checks may be there."""
    try:
        os.stat(path)
    except PermissionError:
        return False
    except OSError:
        return True
    return False


def _no_python(path: str) -> str:
    """What is wrong with a file that can be nobody's interpreter; empty if nothing is."""
    if os.path.isfile(path):
        executable = os.stat(path).st_mode & 0o111
        return "" if executable else f"{path} is not executable; name an interpreter"
    folder = os.path.dirname(os.path.dirname(path))
    if path != os.path.join(folder, "bin", "python") or not os.path.isdir(folder):
        return f"{path} {_absence(path)}; name an interpreter or the folder of a venv"
    # `python3 -m venv` in some other folder, such as /usr, would leave a mess.
    if set(os.listdir(folder)) <= _IN_A_VENV:
        return f"{folder} is a venv without Python; make it with `python3 -m venv {folder}`"
    return f"{folder} is not a venv, it has no bin/python; name an interpreter or a venv"


def _absence(path: str) -> str:
    """Why there is nothing at a path, for this process."""
    try:
        os.stat(path)
    except PermissionError:
        return "cannot be seen by the user who checks (a folder above refuses)"
    except OSError:
        pass
    return "does not exist"


def _refused(refusal: Refusal, person: Person, path: str, root: str = "/") -> str:
    enter = "enter" if "x" in refusal.letters else "read"
    does = enter if refusal.is_folder else "execute"
    way = "" if refusal.path == path else f", on the way to {path}"
    return (
        f"user {person.name} cannot {does} {refusal.path} (mode {refusal.mode:04o}){way};"
        f" {advise(refusal, path, root)}"
    )
