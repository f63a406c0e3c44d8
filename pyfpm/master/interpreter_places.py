"""What an interpreter needs of a sandbox: itself, its venv, its standard library, its loader.

Some of it is named by files that a tenant may own: the links in a venv's `bin`, its `pyvenv.cfg`,
the interpreter as an ELF program. What they name carries their signs (master.survey).
"""

import glob
import os
from collections.abc import Iterator
from contextlib import suppress

from pyfpm.kernel.elf import read_loader
from pyfpm.kernel.landlock import EXECUTE, READ
from pyfpm.master.places import Place
from pyfpm.master.survey import Sign, Survey

_PURPOSE = "the interpreter"
_OF = "python"
_MOST_BYTES = 64 * 1024


def interpreter_places(survey: Survey, python: str) -> Iterator[Place]:
    """The interpreter, its venv, its standard library, and what Debian configures for it.

    The interpreter itself is a file: to start it, nothing else in its folder has to be executable.
    """
    yield Place(python, EXECUTE, _PURPOSE, of=_OF)
    yield from loader_places(survey, (python,), of=_OF)
    yield from _program_places(survey, python)
    venv = os.path.dirname(os.path.dirname(python))
    home, signs = _read_home(survey, venv)
    if home:
        yield Place(venv, READ, "the venv", of=_OF, signs=signs)
        for name in ("python", "python3"):
            yield from _program_places(survey, os.path.join(home, name), signs)
        if not _leads_to_known(survey, home):
            yield from _library_places(os.path.dirname(home), signs)
    for path in sorted(glob.glob("/etc/python3*")):
        yield Place(path, READ, _PURPOSE)


def loader_places(survey: Survey, programs: tuple[str, ...], of: str) -> Iterator[Place]:
    """The dynamic loaders of these programs: the kernel executes them first."""
    for program in programs:
        loader = ""
        with suppress(OSError), survey.read(program) as (file, signs):
            loader = read_loader(file)
        if loader:
            yield Place(loader, EXECUTE, "the loader of shared libraries", of=of, signs=signs)


def _program_places(survey: Survey, path: str, signs: tuple[Sign, ...] = ()) -> Iterator[Place]:
    """An interpreter where links end, and the standard library beside it.

    Where it is one of the system, nobody has led us astray, and its library is the system's too.
    """
    with suppress(OSError), survey.follow(path) as found:
        program = found.path
        signs = () if survey.is_known(found) else (*signs, *found.signs)
        yield Place(program, EXECUTE, _PURPOSE, of=_OF, signs=signs)
        yield from _library_places(os.path.dirname(os.path.dirname(program)), signs)


def _library_places(prefix: str, signs: tuple[Sign, ...]) -> Iterator[Place]:
    for name in ("lib", "lib64", "ssl"):
        path = os.path.join(prefix, name)
        yield Place(path, READ, "the standard library", of=_OF, signs=signs)


def _leads_to_known(survey: Survey, home: str) -> bool:
    """Whether the folder of interpreters is the system's."""
    for name in ("python3", "python"):
        with suppress(OSError), survey.follow(os.path.join(home, name)) as found:
            return survey.is_known(found) and os.path.dirname(found.path) == os.path.normpath(home)
    return False


def _read_home(survey: Survey, venv: str) -> tuple[str, tuple[Sign, ...]]:
    """`home` in a venv's pyvenv.cfg, empty where there is no venv; and who else may change it."""
    try:
        with survey.read(os.path.join(venv, "pyvenv.cfg")) as (file, signs):
            text = file.read(_MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        return "", ()
    pairs = [line.partition("=") for line in text.splitlines()]
    found = {key.strip().lower(): value.strip() for key, _, value in pairs}
    home = found.get("home", "")
    return (home if home.startswith("/") else ""), signs
