"""Who else decides what a sandbox opens.

A sandbox is made anew for every zygote, from paths. A symbolic link on the way to one of them, and
the `pyvenv.cfg` of a venv, say where the way goes on: whoever may change them decides what the next
sandbox opens. Root and the master's user may decide. Everybody else, the pool's own user first of
all, may decide as little as this:

* A link or file of another user leads to what belongs to that user.
* One that code *inside* the sandbox could change (it lies in `sandbox.write`) leads to what the
  sandbox opens already. Otherwise an application that was broken into would have a wider sandbox
  after the next reload.
* Either may lead to the interpreters of the system and to the master's own, since most venvs are
  made from one of those, and nothing is hidden in them.

All of this is asked in the child that has the pool's identity, about descriptors: what was looked
at is what the rule is made for (kernel.steps).
"""

import contextlib
import errno
import functools
import os
import pwd
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pyfpm.kernel.landlock import WRITE, Access
from pyfpm.kernel.mounts import find_mounter
from pyfpm.kernel.owner import owner_of
from pyfpm.kernel.steps import (
    FileIdentity,
    Opened,
    ancestors,
    folders_above,
    open_step_by_step,
)

_INTERPRETER = re.compile(r"/usr/(local/)?bin/python3(\.\d+)?t?")
_LOADER = re.compile(r"/(usr/)?lib[0-9a-z]*/([^/]+/)?ld[-0-9a-z_.]*\.so[.0-9]*")


@dataclass(frozen=True, slots=True)
class Sign:
    """A link or file that says where a way goes on, and is not for root alone to change.

    `owner` is the user that may; None where code inside the sandbox may.
    """

    path: str
    owner: int | None

    def __str__(self) -> str:
        if self.owner is None:
            return f"{self.path}, which code inside the sandbox can change"
        return f"{self.path}, which user {name_of(self.owner)} can change"


class BrokenOffError(OSError):
    """A way that could not be followed to its end; `signs` were met before.

    Otherwise it is the error of kernel.steps.
    """

    def __init__(self, error: OSError, signs: tuple[Sign, ...]) -> None:
        super().__init__(error.errno, error.strerror, error.filename)
        self.signs = signs


@dataclass(slots=True)
class Found:
    """Where a path led, past which signs; `owner` is whose file that is."""

    opened: Opened
    owner: int
    signs: tuple[Sign, ...]

    @property
    def path(self) -> str:
        """The real path."""
        return self.opened.path


class Survey:
    """Looks at ways with the rights of this process.

    `operator` is the user that may decide as root may: the master's. `writable` are the paths
    that the sandbox lets code write, `mounter_of` says whose the file system of a device is, and is
    asked once for each.
    """

    def __init__(
        self,
        operator: int,
        writable: Iterable[str],
        mounter_of: Callable[[int], int | None] = find_mounter,
    ) -> None:
        self._trusted = {0, operator}
        self._own_interpreter = os.path.realpath(sys.executable)
        self._mounter_of = functools.cache(mounter_of)
        self._writable: dict[FileIdentity, Access] = {}
        for path in writable:
            with contextlib.suppress(OSError):
                facts = os.stat(path)
                self._writable[facts.st_dev, facts.st_ino] = WRITE

    @contextlib.contextmanager
    def follow(self, path: str) -> Iterator[Found]:
        """Where a path leads; BrokenOffError where it ends early. Closed with the block."""
        signs: list[Sign] = []

        def on_link(place: str, facts: os.stat_result, folder: int) -> None:
            if sign := self._sign(place, self._owner_of(facts), folders_above(folder)):
                signs.append(sign)

        try:
            opened = open_step_by_step(path, on_link)
        except OSError as error:
            raise BrokenOffError(error, tuple(signs)) from error
        try:
            yield Found(opened, self._owner_of(os.fstat(opened.descriptor)), tuple(signs))
        finally:
            opened.close()

    @contextlib.contextmanager
    def read(self, path: str) -> Iterator[tuple[BinaryIO, tuple[Sign, ...]]]:
        """A regular file to read, and whoever else decides what it says; OSError."""
        with self.follow(path) as found:
            facts = os.fstat(found.opened.descriptor)
            if not stat.S_ISREG(facts.st_mode):  # to open a FIFO would wait for its writer
                raise OSError(errno.EINVAL, "not a regular file", path)
            itself = f"/proc/self/fd/{found.opened.descriptor}"
            own = os.geteuid()
            is_ours = own not in self._trusted and os.access(itself, os.W_OK)
            owner = own if is_ours else found.owner
            sign = self._sign(path, owner, ancestors(found.opened))
            with open(itself, "rb") as file:
                yield file, (*found.signs, *([sign] if sign else ()))

    def is_known(self, found: Found) -> bool:
        """Whether this is an interpreter or a loader of the system, or the master's interpreter."""
        if found.owner not in self._trusted:
            return False
        path = found.path
        return path == self._own_interpreter or bool(
            _INTERPRETER.fullmatch(path) or _LOADER.fullmatch(path)
        )

    def find_stray(
        self,
        found: Found,
        signs: Iterable[Sign],
        access: Access,
        opened: Mapping[FileIdentity, Access],
    ) -> Sign | None:
        """The first of the signs that leads where it must not; `opened` is open without them."""
        if self.is_known(found) or not access & ~_access_to(ancestors(found.opened), opened):
            return None
        strays = (one for one in signs if one.owner is None or one.owner != found.owner)
        return next(strays, None)

    def _owner_of(self, facts: os.stat_result) -> int:
        return owner_of(facts, self._mounter_of)

    def _sign(self, path: str, owner: int, lies_in: Iterator[FileIdentity]) -> Sign | None:
        # What root has put into a folder that code may write is root's word still: other words
        # could be put there, and would not be root's.
        may_be_replaced = owner != 0 or os.geteuid() == 0
        if may_be_replaced and _access_to(lies_in, self._writable):
            return Sign(path, None)
        return None if owner in self._trusted else Sign(path, owner)


def name_of(uid: int) -> str:
    """The name of a user for messages; its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _access_to(places: Iterator[FileIdentity], opened: Mapping[FileIdentity, Access]) -> Access:
    """What the rules for a file and for the folders above it add up to."""
    access = Access(0)
    for place in places:
        access |= opened.get(place, Access(0))
    return access
