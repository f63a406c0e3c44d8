"""Can a user get to a file? Answered from modes and owners, without becoming that user.

Access lists and capabilities are not looked at, save that a place with an access list is given the
benefit of the doubt: what it really allows shows when the pool boots.
"""

import os
import stat
from dataclasses import dataclass

from pyfpm.kernel.folders import way_to


@dataclass(frozen=True, slots=True)
class Person:
    """A user as the kernel sees one: id and groups; `name` is for messages."""

    name: str
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first place on the way that refuses.

    `letters` is what is missing there, of r and x; `whose` the part of the mode that decides: u
    where the user owns the place, g where one of its groups does, else o.
    """

    path: str
    is_folder: bool
    mode: int
    whose: str
    letters: str

    def remedy(self) -> str:
        """The command that would open the place."""
        return f"chmod {self.whose}+{self.letters} {self.path}"


def find_refusal(path: str, person: Person, letters: str, root: str = "/") -> Refusal | None:
    """The first place on the way to `path` that refuses `person`, or None.

    Every folder on the way must be open to x, `path` itself to `letters` ("x", or "rx").
    Symbolic links are followed one by one, since what they lead through counts too. A path that
    does not exist refuses nobody. `root` is the root folder of the process that `path` is for.
    """
    if person.uid == 0:
        return None
    way = list(way_to(path, root))
    if os.path.islink(way[-1]):  # too many of them
        return None
    *folders, last = [place for place in way if not os.path.islink(place)]
    for folder in folders:
        refusal = _refusal(folder, person, "x")
        if refusal is not None:
            return refusal
    return _refusal(last, person, letters)


def may_write(path: str, person: Person) -> bool:
    """Whether `person` may write a file or folder, or give itself the right to, as its owner.

    A place with an access list counts as closed here: who asks wants to warn.
    """
    try:
        facts = os.stat(path)
    except OSError:
        return False
    if person.uid in (0, facts.st_uid):
        return True
    bits = stat.S_IWGRP if facts.st_gid in person.gids else stat.S_IWOTH
    return bool(facts.st_mode & bits) and not has_access_list(path)


def may_replace(path: str, person: Person | None) -> bool:
    """Whether `person` may change a file, or put another one in its place."""
    if person is None:
        return False
    folder = os.path.dirname(path)
    try:
        facts = os.stat(folder)
    except OSError:
        return False
    is_sticky = facts.st_mode & stat.S_ISVTX and facts.st_uid != person.uid
    return may_write(path, person) or (not is_sticky and may_write(folder, person))


def locate(path: str, root: str) -> str:
    """Where `path` leads for a process whose root folder is `root`, as seen from outside.

    Empty for links that lead round in circles. Nothing need exist there.
    """
    *_, last = way_to(path, root)
    return "" if os.path.islink(last) else last


def _refusal(path: str, person: Person, letters: str) -> Refusal | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    if status.st_uid == person.uid:
        whose, bits = "u", status.st_mode >> 6
    elif status.st_gid in person.gids:
        whose, bits = "g", status.st_mode >> 3
    else:
        whose, bits = "o", status.st_mode
    missing = "".join(letter for letter in letters if not bits & {"r": 4, "x": 1}[letter])
    if not missing or has_access_list(path):
        return None
    mode = stat.S_IMODE(status.st_mode)
    return Refusal(path, stat.S_ISDIR(status.st_mode), mode, whose, missing)


def has_access_list(path: str) -> bool:
    """Whether a place has an access list besides its mode."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False
