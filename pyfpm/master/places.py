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

from pyfpm.kernel.landlock import READ, WRITE, Access
from pyfpm.master.survey import Sign


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or a folder with all below it, and what may be done there.

    `key` is the option that lists it; empty for a built-in one, where `purpose` says why, and `of`
    the option that it follows from. `signs` are what the path was read from, where others than
    root may change that.
    """

    path: str
    access: Access
    purpose: str
    key: str = ""
    of: str = ""
    signs: tuple[Sign, ...] = ()


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


def builtin_places(directory: str) -> Iterator[Place]:
    """Every built-in place but those of the interpreter, whether it exists or not."""
    yield Place(directory, READ, "the application", of="directory")
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
