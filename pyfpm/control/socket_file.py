"""The control socket as a file: made without a moment of wrong permissions, removed at the end.

The socket is bound, owned, given its mode and already listening under a temporary name before
link(2) gives it the real one. So nobody ever finds it with a wider mode, a client never meets it
before it listens (another master would take it for a stale one), and since link never replaces a
file, of two masters that start together one wins and the other sees a live socket. That is worth
the price which listeners do not pay (kernel.socket_path): `ss` shows the temporary name.
"""

import contextlib
import os
import socket
from grp import getgrnam
from pwd import getpwnam
from typing import Self

from pyfpm.control.protocol import ExitCode
from pyfpm.errors import ControlError, SpawnError, reason_of
from pyfpm.kernel.bare_socket import BareSocket
from pyfpm.kernel.sock_diag import read_file_inode
from pyfpm.kernel.socket_path import (
    answering_pid,
    bind_closed,
    change_access,
    clear_stale_socket,
    is_answered,
    remove_file,
)
from pyfpm.kernel.steps import FileIdentity

BACKLOG = 2**31 - 1
"""As long as the system allows: listen(2) cuts it to net.core.somaxconn."""


class SocketFile:
    """A listening Unix socket at `path`; `sock` is the listening socket.

    `identity` is the device and inode of its file, None where the file is gone.
    """

    def __init__(self, path: str, sock: socket.socket, identity: FileIdentity | None) -> None:
        self.path = path
        self.sock = sock
        self._identity = identity

    @classmethod
    def make(cls, path: str, *, owner: str | None, group: str | None, mode: int) -> Self:
        """Bind and listen; `owner` and `group` are names or numbers, None for the process's own.

        Raises ControlError when another master answers at `path`, when `path` is any other file,
        and when it cannot be made.
        """
        path = os.path.abspath(path)
        access = _may_give(_user_id(owner), _group_id(group))
        temporary = os.path.join(os.path.dirname(path), f".ctl-{os.getpid()}")
        sock = BareSocket()
        try:
            identity = _bind(sock, temporary)
            try:
                sock.listen(BACKLOG)
                change_access(temporary, identity, mode, access)
                _publish(temporary, path, identity)
            finally:
                remove_file(temporary, identity)
        except OSError as error:
            sock.close()
            raise ControlError(f"control socket {path}: {reason_of(error)}") from None
        except ControlError:
            sock.close()
            raise
        return cls(path, sock, identity)

    @classmethod
    def inherit(cls, path: str, sock: socket.socket) -> Self:
        """Take over a socket that listens at `path` already, made by this process before an exec.

        The file is ours only if it is still the one that the socket was bound to.
        """
        path = os.path.abspath(path)
        try:
            facts = os.lstat(path)
            is_ours = facts.st_ino & 0xFFFFFFFF == read_file_inode(sock)
        except OSError:
            is_ours = False
        return cls(path, BareSocket.around(sock), (facts.st_dev, facts.st_ino) if is_ours else None)

    def change(self, *, owner: str | None, group: str | None, mode: int) -> None:
        """Give the file another owner, group and mode; ControlError where that is not possible.

        None is the process's own.
        """
        uid = os.geteuid() if owner is None else _user_id(owner)
        gid = os.getegid() if group is None else _group_id(group)
        access = _may_give(uid, gid)
        try:
            if self._identity is not None:
                change_access(self.path, self._identity, mode, access)
        except OSError as error:
            raise ControlError(f"control socket {self.path}: {reason_of(error)}") from None

    def remove(self) -> None:
        """Close the socket and remove the file, unless another one stands there by now."""
        self.sock.close()
        if self._identity is not None:
            remove_file(self.path, self._identity)


def _bind(sock: socket.socket, path: str) -> FileIdentity:
    # A leftover of a master with our pid that died between bind and unlink.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return bind_closed(sock, path)


def _may_give(uid: int, gid: int) -> tuple[int, int]:
    """Owner and group, -1 for what a process that is not root cannot give: `check` says so."""
    if os.geteuid() == 0:
        return uid, gid
    return -1, gid if gid in {os.getegid(), *os.getgroups()} else -1


def _publish(temporary: str, path: str, identity: FileIdentity) -> None:
    """Give the socket its real name, replacing a stale one."""
    for _ in range(3):  # once, once more after a stale socket, and once for a master that races us
        try:
            os.link(temporary, path)
        except FileExistsError:
            _clear_stale(path)
        else:
            facts = os.lstat(path)
            if (facts.st_dev, facts.st_ino) == identity:
                return
            raise ControlError(f"control socket {path}: its file has been replaced")
    raise ControlError(f"control socket {path}: another master starts at the same time")


def _clear_stale(path: str) -> None:
    try:
        clear_stale_socket(path)
    except SpawnError as error:
        if is_answered(path):
            pid = answering_pid(path)
            who = f" (pid {pid})" if pid else ""
            raise ControlError(
                f"another master answers on {path}{who}: end it with `pyfpm stop`, "
                "or give this one another control in [pyfpm]"
            ) from None
        raise ControlError(f"control socket {path}: {error}") from None


def _user_id(owner: str | None) -> int:
    if owner is None:
        return -1
    try:
        return int(owner) if owner.isdecimal() else getpwnam(owner).pw_uid
    except KeyError:
        raise ControlError(f"control.owner: no user {owner!r}", ExitCode.CONFIG) from None


def _group_id(group: str | None) -> int:
    if group is None:
        return -1
    try:
        return int(group) if group.isdecimal() else getgrnam(group).gr_gid
    except KeyError:
        raise ControlError(f"control.group: no group {group!r}", ExitCode.CONFIG) from None
