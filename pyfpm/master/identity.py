"""Who a pool runs as: resolved in the master, applied in the child before exec (DESIGN 1).

Privileges are gone before the pool's interpreter runs, because a venv's `.pth` files are code.
"""

import contextlib
import errno
import grp
import os
import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pyfpm.config import PoolOptions
from pyfpm.errors import SpawnError
from pyfpm.kernel.capabilities import (
    CAP_KILL,
    drop_capabilities,
    has_any_capability,
    has_capability,
)
from pyfpm.kernel.keyring import leave_session_keyring
from pyfpm.kernel.prctl import has_no_new_privs, set_no_new_privs
from pyfpm.master.attributes import (
    AS_THE_MASTER,
    Attributes,
    apply_as_root,
    apply_limits,
    resolve_attributes,
    verify,
)

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Identity:
    """uid and gid are None where the master cannot or need not change them."""

    uid: int | None
    gid: int | None
    groups: tuple[int, ...]
    name: str
    home: str
    umask: int | None
    no_new_privs: bool
    attributes: Attributes = AS_THE_MASTER


def resolve_identity(pool: PoolOptions, *, is_root: bool) -> Identity:
    """Look names up; SpawnError for an unknown one (`check` has reported it before, with its line).

    Without `user` a root pool (-R) stays root, be it in another group, and a master that is not
    root stays who it is.
    """
    attributes = resolve_attributes(pool, is_root=is_root)
    changes = pool.user is not None or pool.group is not None or pool.extra_groups
    if not (is_root and changes):
        own = _find_user(str(os.geteuid()))
        return Identity(
            None, None, (), own.name, own.home, pool.umask, pool.no_new_privs, attributes
        )
    user = _find_user(pool.user or str(os.geteuid()))
    gid = user.gid if pool.group is None else find_gid(pool.group)
    extra = {find_gid(group) for group in pool.extra_groups}
    groups = sorted({gid, *_groups_of(user), *extra})
    return Identity(
        user.uid,
        gid,
        tuple(groups),
        user.name,
        user.home,
        pool.umask,
        pool.no_new_privs,
        attributes,
    )


def apply_identity(identity: Identity, descriptors: Iterable[int] = ()) -> None:
    """In the child: what needs root, then groups, group and user, then what takes away; and a look.

    `descriptors` are those that the program inherits. OSError where the kernel refuses; SpawnError
    with the key where it refuses that, or said yes and did not do it.
    """
    if identity.uid not in (None, os.geteuid()) and not has_capability(CAP_KILL):
        # Neither a time limit nor a stop could be enforced, which shows on a bad day only.
        raise SpawnError("the master needs CAP_KILL, to end processes of another user")
    apply_as_root(identity.attributes, descriptors)
    if identity.uid is not None and identity.gid is not None:
        leave_session_keyring()  # before: root has room for more keyrings than anybody else
        with _named_reasons():
            os.setgroups(identity.groups)
            os.setresgid(identity.gid, identity.gid, identity.gid)
            os.setresuid(identity.uid, identity.uid, identity.uid)
        _verify(identity.uid, identity.gid, identity.groups)
    if os.geteuid() != 0:
        _give_up_capabilities()
    if identity.umask is not None:
        os.umask(identity.umask)
        _verify_umask(identity.umask)
    if identity.no_new_privs:
        set_no_new_privs()
        if not has_no_new_privs():
            raise SpawnError("no_new_privs: the kernel did not set it")
    apply_limits(identity.attributes)
    verify(identity.attributes)


def environment_of(pool: PoolOptions, identity: Identity) -> dict[str, str]:
    """The environment of the pool's processes.

    PHP-FPM clears PATH too, and every application that starts a program by name then fails; a
    plain PATH stays unless the pool sets its own.
    """
    environment = {} if pool.clear_env else dict(os.environ)
    environment.setdefault("PATH", _DEFAULT_PATH)
    if identity.name:
        environment |= {"USER": identity.name, "LOGNAME": identity.name}
    if identity.home:
        environment["HOME"] = identity.home
    return environment | dict(pool.environment)


@dataclass(frozen=True, slots=True)
class _User:
    uid: int
    gid: int
    name: str
    home: str


def _find_user(text: str) -> _User:
    try:
        found = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except KeyError:
        if text.isdecimal():  # a number needs no entry; its group then is the same number
            return _User(int(text), int(text), "", "")
        raise SpawnError(f"user {text!r} does not exist") from None
    return _User(found.pw_uid, found.pw_gid, found.pw_name, found.pw_dir)


def find_uid(text: str) -> int:
    """The number of a user given by name or number; SpawnError for an unknown name."""
    return _find_user(text).uid


def find_gid(text: str) -> int:
    """The number of a group given by name or number; SpawnError for an unknown name."""
    if text.isdecimal():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise SpawnError(f"group {text!r} does not exist") from None


def _groups_of(user: _User) -> list[int]:
    return os.getgrouplist(user.name, user.gid) if user.name else []


@contextlib.contextmanager
def _named_reasons() -> Iterator[None]:
    """What a container lacks, where the kernel has only its word for it."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.EPERM: "the master needs CAP_SETUID and CAP_SETGID for that, and a user"
            " namespace in which setgroups is allowed",
            errno.EINVAL: "this user namespace does not have the user, or one of its groups"
            " (/proc/self/uid_map, /proc/self/gid_map)",
        }
        if error.errno not in reasons:
            raise
        raise SpawnError(f"{error.strerror}: {reasons[error.errno]}") from error


def _verify(uid: int, gid: int, groups: tuple[int, ...]) -> None:
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise SpawnError("the kernel did not change the user or group")
    if set(os.getgroups()) - {gid} != set(groups) - {gid}:
        raise SpawnError("the kernel did not change the groups")


def _give_up_capabilities() -> None:
    drop_capabilities()
    if has_any_capability():
        raise SpawnError("the kernel left capabilities to a process that is not root")


def _verify_umask(wanted: int) -> None:
    found = os.umask(wanted)  # the only way to read it is to set it
    if found != wanted:
        raise SpawnError(f"umask: the kernel made {found:04o} of {wanted:04o}")
