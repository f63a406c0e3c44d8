"""What every application needs to read: the built-in places of a sandbox.

They are looked up where the pool's interpreter is about to be executed: with the pool's identity
and below its root. What does not exist on this machine, or what the pool's user cannot reach, is
left out. Nothing here is secret on an ordinary machine, and nothing of it is another tenant's.
"""

import glob
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pyfpm.kernel.elf import read_loader
from pyfpm.kernel.landlock import EXECUTE, READ, WRITE, Access


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or a folder with all below it, and what may be done there.

    `key` is the option that lists it; empty for a built-in one, where `purpose` says why.
    """

    path: str
    access: Access
    purpose: str
    key: str = ""


# A folder of libraries holds programs too, in the end, but reading one is not executing it.
_LIBRARIES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
)
_LOADER_CONF = "/etc/ld.so.conf"
_RESOLVER_CONF = "/etc/resolv.conf"
_FILES = {
    "shared libraries": ("/etc/ld.so.cache",),
    "certificates": (
        "/etc/ssl",
        "/etc/pki",
        "/etc/crypto-policies",
        "/usr/share/crypto-policies",
        # Certificates in /etc/ssl/certs are links to these on Debian.
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
    ),
    "names": (
        _RESOLVER_CONF,
        "/etc/hosts",
        "/etc/host.conf",
        "/etc/gai.conf",
        "/etc/nsswitch.conf",
        "/etc/services",
        "/etc/protocols",
    ),
    "time zone": ("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo"),
    # `mimetypes` reads all that it finds and fails with the first one that it may not open.
    "file types": (
        "/etc/mime.types",
        "/etc/httpd/mime.types",
        "/etc/httpd/conf/mime.types",
        "/etc/apache/mime.types",
        "/etc/apache2/mime.types",
        "/usr/local/etc/mime.types",
        "/usr/share/mime",
    ),
    "devices": ("/dev/zero", "/dev/random", "/dev/urandom"),
    # How many processors there are, for older C libraries.
    "processors": ("/sys/devices/system/cpu",),
}


def builtin_places(python: str, directory: str) -> Iterator[Place]:
    """Every built-in place for this interpreter and application, whether it exists or not."""
    yield Place(directory, READ, "the application")
    yield from _interpreter_places(python)
    for folder in (*_LIBRARIES, *_configured_folders(_LOADER_CONF)):
        yield Place(folder, READ, "shared libraries")
    for purpose, paths in _FILES.items():
        for path in paths:
            yield Place(path, READ, purpose)
    yield Place("/dev/null", WRITE, "devices")
    for path in glob.glob("/etc/ld-musl-*.path"):
        yield Place(path, READ, "shared libraries")
    folder = os.path.dirname(os.path.realpath(_RESOLVER_CONF))
    if folder.startswith("/run/"):
        # systemd-resolved and others replace the file with each change of the network; a rule for
        # its folder, which is theirs alone, goes on to hold. Not for /run itself, where it lies on
        # some small systems: that is everybody's.
        yield Place(folder, READ, "names")


def loader_places(programs: tuple[str, ...]) -> Iterator[Place]:
    """The dynamic loaders of these programs: the kernel executes them first."""
    for program in programs:
        with suppress(OSError):
            if os.path.isfile(program) and (loader := read_loader(program)):
                yield Place(loader, EXECUTE, "the loader of shared libraries")


def _interpreter_places(python: str) -> Iterator[Place]:
    """The interpreter, its venv, its standard library, and what Debian configures for it.

    The interpreter itself is a file: to start it, nothing else in its folder has to be executable.
    """
    purpose = "the interpreter"
    yield Place(python, EXECUTE, purpose)
    yield from loader_places((python,))
    venv = os.path.dirname(os.path.dirname(python))
    home = _venv_home(venv)
    if home is not None:
        yield Place(venv, READ, "the venv")
    for program in dict.fromkeys((os.path.realpath(python), *_interpreters_in(home))):
        yield Place(program, EXECUTE, purpose)
        yield from _library_places(os.path.dirname(os.path.dirname(program)))
    if home is not None:
        yield from _library_places(os.path.dirname(home))
    for path in sorted(glob.glob("/etc/python3*")):
        yield Place(path, READ, purpose)


def _library_places(prefix: str) -> Iterator[Place]:
    for name in ("lib", "lib64", "ssl"):
        yield Place(os.path.join(prefix, name), READ, "the standard library")


def _interpreters_in(home: str | None) -> Iterator[str]:
    """What `home` of a venv holds: the interpreter that the venv was made from."""
    for name in ("python", "python3"):
        program = os.path.join(home or "", name)
        if home is not None and os.path.exists(program):
            yield os.path.realpath(program)


def _venv_home(venv: str) -> str | None:
    """`home` in a venv's pyvenv.cfg; None where there is no venv."""
    try:
        with open(os.path.join(venv, "pyvenv.cfg"), encoding="utf-8") as lines:
            pairs = [line.partition("=") for line in lines]
    except (OSError, UnicodeDecodeError):
        return None
    found = {key.strip().lower(): value.strip() for key, _, value in pairs}
    return found.get("home") or None


def _configured_folders(path: str, depth: int = 4) -> Iterator[str]:
    """The folders that ldconfig(8) is told of; files may include others."""
    with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            text = line.partition("#")[0].strip()
            if text.startswith("include") and depth:
                pattern = os.path.join(os.path.dirname(path), text[len("include") :].strip())
                for included in sorted(glob.glob(pattern)):
                    yield from _configured_folders(included, depth - 1)
            elif text.startswith("/"):
                yield text
