"""The places of a sandbox, turned into rules for the kernel.

First come the places that root alone decides about; only then those that somebody else's links or
files lead to, since what they may lead to can depend on what is open already.
"""

import errno
import os
from collections.abc import Iterable, Sequence

from pyfpm.errors import SpawnError
from pyfpm.kernel.landlock import Access, Ruleset
from pyfpm.kernel.steps import FileIdentity
from pyfpm.master.places import Place
from pyfpm.master.survey import BrokenOffError, Found, Sign, Survey, name_of

_LOOK_FIRST = "look at that first"
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)


class SandboxError(SpawnError):
    """The sandbox of a pool cannot be made; `key` is the option that is wrong."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class Grants:
    """Adds rules for places to a ruleset."""

    def __init__(self, ruleset: Ruleset, survey: Survey) -> None:
        self._ruleset = ruleset
        self._survey = survey
        self._opened: dict[FileIdentity, Access] = {}

    def allow(self, places: Iterable[Place]) -> None:
        """Allow them all; SandboxError where one is missing, or must not be followed."""
        for place in [place for place in places if not self._allow(place, only_fixed=True)]:
            self._allow(place, only_fixed=False)

    def _allow(self, place: Place, *, only_fixed: bool) -> bool:
        """Whether it is dealt with; a place that signs lead to waits where `only_fixed`."""
        signs = place.signs
        try:
            with self._survey.follow(place.path) as found:
                signs = (*place.signs, *found.signs)
                if signs and only_fixed:
                    return False
                stray = self._survey.find_stray(found, signs, place.access, self._opened)
                if stray is None:
                    self._ruleset.allow(found.opened.descriptor, place.access)
                    if not signs:
                        self._remember(found, place.access)
                elif place.key or place.of:
                    raise SandboxError(_key_of(place), _astray(place, found, stray))
        except OSError as error:
            if place.key or error.errno not in _ABSENT:
                if isinstance(error, BrokenOffError):
                    signs = (*signs, *error.signs)
                raise SandboxError(_key_of(place), _absence(place, error, signs)) from error
        return True

    def _remember(self, found: Found, access: Access) -> None:
        facts = os.fstat(found.opened.descriptor)
        identity = facts.st_dev, facts.st_ino
        self._opened[identity] = self._opened.get(identity, Access(0)) | access


def _key_of(place: Place) -> str:
    """The option that a problem with the place stands at."""
    return place.of or (place.key if place.key.startswith("sandbox.") else "sandbox")


def _absence(place: Place, error: OSError, signs: Sequence[Sign]) -> str:
    """What is wrong with a path, and what would mend it."""
    where, user = error.filename, name_of(os.geteuid())
    if error.errno not in (errno.EACCES, errno.ENOENT, errno.ENOTDIR):
        return f"{place.path}: {error.strerror}"
    is_closed = error.errno == errno.EACCES
    if signs:
        # Whoever made the link wants it opened or made, for a reason that may be his alone.
        reason = f"user {user} cannot enter that" if is_closed else "there is no such place"
        text = f"{place.path} leads to {where} because of {signs[-1]}, and {reason}: {_LOOK_FIRST}"
    elif is_closed:
        text = f"{place.path}: user {user} cannot enter {where}: run `chmod o+x {where}`"
    else:
        text = f"{place.path}: there is no {where}: create it"
    return f"{text}, or leave the path out"


def _astray(place: Place, found: Found, stray: Sign) -> str:
    """Why a place is not opened, and how the operator says that it is meant."""
    text = f"{place.path} leads to {found.path} because of {stray}: {_LOOK_FIRST}; if it is meant,"
    if place.of != "python":
        return f"{text} write {found.path} itself"
    if not place.access & Access.EXECUTE:
        return f"{text} list {found.path} in sandbox.read"
    prefix = os.path.dirname(os.path.dirname(found.path))
    return (
        f"{text} list it in sandbox.execute and the lib folder of {prefix} in sandbox.read, or"
        " make the venv as root"
    )
