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
    if not missing or _has_access_list(path):
        return None
    mode = stat.S_IMODE(status.st_mode)
    return Refusal(path, stat.S_ISDIR(status.st_mode), mode, whose, missing)


def _has_access_list(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False
