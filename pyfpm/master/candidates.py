"""What the application of a pool is likely to open, as far as its configuration and files tell.

Nothing of it is executed: names are taken from the options, the environment, `.pth` files, and
symbolic links. What is built into the code of an application, nobody can tell without running it.
"""

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyfpm.config import Config, PoolOptions

OF_ENVIRONMENT = "environment: "
"""What `why` begins with for a path that a variable names."""
_MOST_ENTRIES = 20_000
_LONGEST_FIRST_LINE = 256
_BETWEEN = re.compile(r"[\s,;='\"]+")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A path that may be opened; `why` says what names it.

    `wants` are letters of r, w and x: without one of them it counts as refused.
    """

    path: str
    why: str
    wants: str


# What many applications and libraries use, and a sandbox does not give by itself.
_USUAL = (
    Candidate("/etc/passwd", "names of users: the module pwd, os.path.expanduser('~name')", "r"),
    Candidate("/tmp", "temporary files of code that does not heed TMPDIR", "rw"),  # noqa: S108
    Candidate("/dev/shm", "locks, queues and shared memory of multiprocessing", "rw"),  # noqa: S108
    Candidate("/bin/sh", "subprocess with shell=True, os.system, ctypes.util.find_library", "x"),
    Candidate("/proc", "psutil and others that look at processes, their own included", "r"),
)


def find_candidates(
    config: Config, options: PoolOptions, environment: Mapping[str, str]
) -> Iterator[Candidate]:
    """Candidates of one pool, seen with the rights of this process; each path may come twice."""
    yield Candidate(options.directory, "directory", "r")
    yield Candidate(options.python, "python", "x")
    for name, value in environment.items():
        if name == "PATH":
            continue
        origin = config.origin(f"pool:{options.name}", f"env[{name}]")
        why = name if origin == "default" else f"{name} ({origin})"
        for path in paths_in(value):
            yield Candidate(path, f"{OF_ENVIRONMENT}{why}", "rw" if name == "TMPDIR" else "r")
    for path in options.sandbox_execute:
        yield from _of_script(path)
    venv = os.path.dirname(os.path.dirname(options.python))
    for site in sorted(glob.glob(os.path.join(glob.escape(venv), "lib/python3*/site-packages"))):
        yield from _of_site_packages(site)
    yield from _links_below(options.directory)
    yield from _USUAL


def paths_in(value: str) -> list[str]:
    """The absolute paths in a variable: alone, in a list, or in the URL of a database."""
    found: list[str] = []
    for piece in _BETWEEN.split(value):
        scheme, separator, rest = piece.partition("://")
        if not separator:
            found += [part for part in piece.split(":") if part.startswith("/")]
        elif rest.startswith("//") or (scheme == "file" and rest.startswith("/")):
            found.append(rest)  # sqlite:////srv/db: what comes after three slashes is a path
    return [os.path.normpath(f"/{path.lstrip('/')}") for path in found if path.strip("/")]


def _of_script(path: str) -> Iterator[Candidate]:
    """The program that a script names in its first line has to be executed, too."""
    try:
        with open(path, "rb") as file:
            first = file.readline(_LONGEST_FIRST_LINE)
    except OSError:
        return
    if first.startswith(b"#!") and (words := first[2:].split()):
        yield Candidate(os.fsdecode(words[0]), f"first line of {path}", "x")


def _of_site_packages(site: str) -> Iterator[Candidate]:
    for pth in sorted(glob.glob(os.path.join(glob.escape(site), "*.pth"))):
        try:
            with open(pth, encoding="utf-8", errors="replace") as file:
                lines = [line.strip() for line in file]
        except OSError:
            continue
        for line in lines:
            if line.startswith("/"):
                yield Candidate(line, f"sys.path: {pth}", "r")
    yield from _links_in(site)


def _links_below(folder: str) -> Iterator[Candidate]:
    """Links that lead out of the application's folder, wherever they are in it."""
    seen = 0
    for place, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        yield from _links_in(place, folder)
        if seen > _MOST_ENTRIES:
            return


def _links_in(place: str, within: str | None = None) -> Iterator[Candidate]:
    inside = os.path.join(os.path.realpath(within or place), "")
    try:
        links = sorted(entry.path for entry in os.scandir(place) if entry.is_symlink())
    except OSError:
        return
    for link in links:
        target = os.path.realpath(link)
        if not target.startswith(inside) and os.path.exists(target):
            yield Candidate(target, f"link: {link}", "r")
