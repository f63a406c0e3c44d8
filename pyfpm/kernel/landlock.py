"""Landlock: rights that a process gives up for itself and for all that come from it.

A ruleset names the rights that it handles; whatever of them no rule allows is refused from the
moment on that it is enforced. A rule ties rights to a file, or to a folder and everything below it:
to the inode, not to the name, so a file that is replaced later has lost them. A right counts
when a file is opened; descriptors that are open already, or come from elsewhere, stay as they are.

Each version of the interface (its ABI) knows more rights than the one before. A right that the
running kernel does not know must not be named to it, and is then not refused to anybody.

The kernel's own page: Documentation/userspace-api/landlock.rst.
"""

import ctypes
import errno
import os
import stat
import struct
from dataclasses import dataclass
from enum import IntFlag

# These are the same on all architectures but Alpha.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_RULESET = struct.Struct("=QQQ")  # struct landlock_ruleset_attr: files, network, scopes
_SHORT_RULESET = struct.Struct("=Q")  # as it was before TCP ports and scopes
_RULE = struct.Struct("=Qi")  # struct landlock_path_beneath_attr, which is packed

_libc = ctypes.CDLL(None, use_errno=True)


class Access(IntFlag):
    """What may be done with files, as linux/landlock.h numbers it."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13  # ABI 2: link or rename into another folder; always refused before
    TRUNCATE = 1 << 14  # ABI 3
    IOCTL_DEV = 1 << 15  # ABI 5

    @classmethod
    def every(cls) -> "Access":
        """All of them."""
        return cls((1 << 16) - 1)


class Scope(IntFlag):
    """What may not leave the sandbox (ABI 6)."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1

    @classmethod
    def every(cls) -> "Scope":
        """All of them."""
        return cls((1 << 2) - 1)


READ = Access.READ_FILE | Access.READ_DIR
EXECUTE = READ | Access.EXECUTE
# No device files: they are for root to make. Execution stays apart, so that what an application
# writes is not what it can run.
WRITE = READ | (Access.every() & ~(Access.EXECUTE | Access.MAKE_CHAR | Access.MAKE_BLOCK))

_ABSENCES = {
    errno.ENOSYS: "it has no Landlock (Linux 5.13), or a container's filter of system calls does"
    " not know it yet",
    errno.EOPNOTSUPP: "it was booted without Landlock: add landlock to lsm= on its command line",
    errno.EPERM: "a filter of system calls refuses Landlock: have the container's seccomp profile"
    " allow landlock_create_ruleset, landlock_add_rule and landlock_restrict_self",
}

_OF_FILES = (
    Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
)
_SINCE = {Access.REFER: 2, Access.TRUNCATE: 3, Access.IOCTL_DEV: 5}
_SCOPES_SINCE = 6


@dataclass(frozen=True, slots=True)
class Support:
    """What the running kernel can refuse; without Landlock `abi` is 0, and `absence` says why."""

    abi: int
    access: Access
    scopes: Scope
    absence: str = ""


def read_support() -> Support:
    """Ask the kernel."""
    try:
        abi = _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    except OSError as error:
        absence = _ABSENCES.get(error.errno or 0, f"Landlock: {error.strerror}")
        return Support(0, Access(0), Scope(0), absence)
    scopes = Scope(0)
    if abi >= _SCOPES_SINCE:
        # Tried one by one: there are kernels of distributions that have only one of the two.
        for scope in Scope:
            try:
                os.close(_create(Access(0), scope))
            except OSError:
                continue
            scopes |= scope
    return Support(abi, known_access(abi), scopes)


def known_access(abi: int) -> Access:
    """The rights that a kernel of this ABI knows; those of later ABIs than ours are not named."""
    if not abi:
        return Access(0)
    known = Access.every()
    for right, since in _SINCE.items():
        if abi < since:
            known &= ~right
    return known


def missing_walls(support: Support) -> list[str]:
    """What a kernel cannot refuse, in words, with the Linux that can."""
    if not support.abi:
        return [f"anything: {support.absence or _ABSENCES[errno.ENOSYS]}"]
    walls = [
        (Access.TRUNCATE & ~support.access, "truncating files (Linux 6.2)"),
        (Access.IOCTL_DEV & ~support.access, "ioctl on devices (Linux 6.10)"),
        (Scope.SIGNAL & ~support.scopes, "signals to other processes (Linux 6.12)"),
        (
            Scope.ABSTRACT_UNIX_SOCKET & ~support.scopes,
            "abstract Unix sockets of other processes (Linux 6.12)",
        ),
    ]
    return [words for is_missing, words in walls if is_missing]


class Ruleset:
    """Rules that are collected, then enforced. Every method raises OSError as os functions do."""

    def __init__(self, support: Support) -> None:
        self._handled = support.access
        self._descriptor = _create(support.access, support.scopes)

    def allow(self, descriptor: int, access: Access) -> None:
        """Allow this to a file, or to a folder with all below; opened with O_PATH is enough.

        Rights that the kernel does not know, or that a file cannot have, are left out.
        """
        access &= self._handled
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _OF_FILES
        if access:
            rule = ctypes.create_string_buffer(_RULE.pack(access, descriptor), _RULE.size)
            _call(_ADD_RULE, self._descriptor, _PATH_BENEATH, rule, 0)

    def enforce(self) -> None:
        """Give up everything else, for this thread and for what it starts, for ever.

        The process needs no_new_privs, or CAP_SYS_ADMIN; PermissionError otherwise.
        """
        _call(_RESTRICT_SELF, self._descriptor, 0)

    def close(self) -> None:
        """Close the descriptor; what is enforced stays so."""
        os.close(self._descriptor)


def _create(access: Access, scopes: Scope) -> int:
    packed = _RULESET.pack(access, 0, scopes) if scopes else _SHORT_RULESET.pack(access)
    attributes = ctypes.create_string_buffer(packed, len(packed))
    return _call(_CREATE_RULESET, attributes, len(packed), 0)


def _call(number: int, *arguments: object) -> int:
    """One system call; integers as wide as registers are."""
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
