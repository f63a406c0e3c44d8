"""Names of users and groups, looked up on this machine."""

import grp
import os
import pwd

from pyfpm.config.options import PoolOptions
from pyfpm.config.reach import Person


def find_user(name: str) -> pwd.struct_passwd | None:
    """The user of a name or of a number in digits."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        return None


def find_group(name: str) -> grp.struct_group | None:
    """The group of a name or of a number in digits."""
    try:
        return grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)
    except (KeyError, OverflowError):
        return None


def person_of(pool: PoolOptions, *, is_root: bool) -> Person | None:
    """Whom the pool's processes run as; None where its names are unknown."""
    if not is_root or pool.user is None:
        uid = os.geteuid()
        groups = frozenset({os.getegid(), *os.getgroups()})
        found = find_user(str(uid))
        return Person(found.pw_name if found else str(uid), uid, groups)
    user = find_user(pool.user)
    group = find_group(pool.group) if pool.group is not None else None
    if user is None or (group is None and pool.group is not None):
        return None
    primary = user.pw_gid if group is None else group.gr_gid
    extra = (find_group(name) for name in pool.extra_groups)
    gids = {*os.getgrouplist(user.pw_name, primary), *(found.gr_gid for found in extra if found)}
    return Person(user.pw_name, user.pw_uid, frozenset(gids))
