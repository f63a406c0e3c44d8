"""The listening sockets of a pool.

A listener stays open for as long as its address is configured: a reload keeps those whose address
is unchanged, and applies owner, mode and backlog to them.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from pyfpm.config import (
    ListenAddress,
    PoolOptions,
    SystemdAddress,
    TcpAddress,
    UnixAddress,
    format_address,
    is_loopback,
    open_to_all,
)
from pyfpm.errors import SpawnError, reason_of
from pyfpm.kernel.bare_socket import refuse_descriptors
from pyfpm.kernel.folders import find_exposure, make_folder
from pyfpm.kernel.socket_folder import lasting_name
from pyfpm.kernel.socket_path import (
    bind_closed,
    change_access,
    clear_stale_socket,
    remove_file,
)
from pyfpm.master.activation import PassedSockets, address_of
from pyfpm.master.disposals import Disposal
from pyfpm.master.hosts import Hosts, ask
from pyfpm.master.identity import Identity, find_gid, find_uid

_SOMAXCONN = "/proc/sys/net/core/somaxconn"


@dataclass(frozen=True, slots=True)
class Listener:
    """One bound and listening socket; `path` is set for a Unix socket whose file is ours.

    `configured` is the address that asked for it: a host name may have asked for several.
    """

    address: str
    sock: socket.socket
    path: str | None
    inode: tuple[int, int]
    configured: ListenAddress

    @property
    def is_tcp(self) -> bool:
        """Whether peers come over TCP."""
        return self.sock.family != socket.AF_UNIX

    def remove_file(self) -> None:
        """Unlink the file of a Unix socket of ours, unless somebody else's stands there by now."""
        if self.path is not None:
            with contextlib.suppress(OSError, SpawnError), lasting_name(self.path) as name:
                remove_file(name, self.inode)

    def close(self) -> None:
        """Remove the file and close the socket, before any worker has had it."""
        self.remove_file()
        self.sock.close()

    def give_up(self, disposal: Disposal) -> None:
        """Remove the file and have the master's copy of the socket closed.

        Workers hold the same one, and may have made a TCP connection of it meanwhile. Nothing
        happens to one that is closed already.
        """
        self.remove_file()
        if self.sock.fileno() >= 0:
            disposal.give_up(self.sock.detach())


def open_listeners(
    pool: PoolOptions,
    identity: Identity,
    existing: Iterable[Listener] = (),
    passed: PassedSockets | None = None,
    hosts: Hosts | None = None,
) -> list[Listener]:
    """A listener for every address of the pool, or none: SpawnError says which failed and why.

    Those among `existing` that have one of the addresses are used as they are; the others of them
    are left alone. `passed` are the sockets that `systemd:NAME` means; they are looked at anew each
    time, since the pool may admit other clients by now. A host name that `hosts` has no answer for
    is asked for, and waited for.
    """
    kept = [x for x in existing if not isinstance(x.configured, SystemdAddress)]
    passed = passed or PassedSockets()
    listeners: list[Listener] = []
    opened: list[Listener] = []
    try:
        for address in pool.listen:
            found = [listener for listener in kept if listener.configured == address]
            if not found:
                found = _open(address, pool, identity, passed, hosts)
                opened += found
            listeners += found
    except (OSError, SpawnError) as error:
        for listener in opened:
            listener.close()
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise SpawnError(f"bind {format_address(address)}: {reason}") from error
    return listeners


def apply_settings(listener: Listener, pool: PoolOptions, identity: Identity) -> None:
    """Give an open listener the backlog, and a Unix socket's file the owner and mode, of `pool`.

    OSError where that is not possible.
    """
    if isinstance(listener.configured, SystemdAddress):
        return  # its unit says them
    if not listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        # A worker has ended it, and may have made a connection of it that it keeps locked.
        raise OSError(errno.EINVAL, "it does not listen any more: stop the pool and start it again")
    listener.sock.listen(_backlog(pool.listen_backlog))
    if listener.path is not None:
        owner = _socket_owner(pool, identity)
        change_access(listener.path, listener.inode, pool.listen_mode, owner)


def _open(
    address: ListenAddress,
    pool: PoolOptions,
    identity: Identity,
    passed: PassedSockets,
    hosts: Hosts | None,
) -> list[Listener]:
    match address:
        case UnixAddress(path):
            return [_open_unix(path, pool, identity)]
        case TcpAddress():
            return _open_tcp(address, pool, hosts)
        case SystemdAddress(name):
            socks = passed.duplicate(name, is_limited=bool(pool.listen_allowed_clients))
            return [Listener(address_of(sock), sock, None, (0, 0), address) for sock in socks]
        case _:
            assert_never(address)


def _open_unix(path: str, pool: PoolOptions, identity: Identity) -> Listener:
    backlog = _backlog(pool.listen_backlog)
    owner = _socket_owner(pool, identity)
    _prepare_folder(os.path.dirname(path), identity)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    refuse_descriptors(sock)  # for what is accepted from it, too
    try:
        with lasting_name(path) as name:
            clear_stale_socket(name)
            inode = bind_closed(sock, name)
            try:
                # At once: until it listens, another master would take it for a stale one.
                sock.listen(backlog)
                change_access(name, inode, pool.listen_mode, owner)
            except OSError:
                remove_file(name, inode)
                raise
    except (OSError, SpawnError):
        sock.close()
        raise
    return Listener(path, sock, path, inode, UnixAddress(path))


def _prepare_folder(folder: str, identity: Identity) -> None:
    """Make it, unless it is there; SpawnError if a stranger was faster, in a place such as /tmp."""
    try:
        with lasting_name(folder) as name:
            make_folder(name, 0o755)
    except OSError as error:
        raise SpawnError(f"make its folder {folder}: {reason_of(error)}") from error
    trusted = {os.geteuid()} if identity.uid is None else {os.geteuid(), identity.uid}
    found = find_exposure(folder, trusted)
    if found is not None and found.owner is not None:
        raise SpawnError(str(found))


def _open_tcp(address: TcpAddress, pool: PoolOptions, hosts: Hosts | None) -> list[Listener]:
    text = format_address(address)
    if not address.host:
        if socket.has_dualstack_ipv6():
            sock = _bind_tcp(socket.AF_INET6, ("::", address.port), pool, dual=True)
        else:  # IPv6 is switched off in many containers
            sock = _bind_tcp(socket.AF_INET, ("0.0.0.0", address.port), pool, dual=False)  # noqa: S104 - what a bare port asks for
        return [Listener(text, sock, None, (0, 0), address)]
    places = ask(address) if hosts is None else hosts.find(address)
    for _, place in places:
        # `localhost` is what /etc/hosts or the resolver says it is.
        if not pool.listen_allowed_clients and not is_loopback(str(place[0])):
            remedy = f"listen on 127.0.0.1:{address.port}"
            raise SpawnError(open_to_all(f"{place[0]} port {address.port}", remedy))
    return [
        Listener(text, _bind_tcp(family, place, pool, dual=False), None, (0, 0), address)
        for family, place in places
    ]


def _bind_tcp(
    family: int, place: tuple[object, ...], pool: PoolOptions, *, dual: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it: one small write per response must not wait for an ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual))
        sock.bind(place)
        sock.listen(_backlog(pool.listen_backlog))
    except OSError:
        sock.close()
        raise
    return sock


def _backlog(wanted: int) -> int:
    """listen(2) cuts to the kernel's limit anyway; -1 asks for just that limit."""
    if wanted > 0:
        return wanted
    try:
        with open(_SOMAXCONN, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 4096


def _socket_owner(pool: PoolOptions, identity: Identity) -> tuple[int, int] | None:
    """Owner and group of a socket's file, -1 for one that stays; None where both do.

    A master that is not root gives no file away, and its groups are all that it can give one to.
    """
    gid = identity.gid if pool.listen_group is None else find_gid(pool.listen_group)
    if os.geteuid() != 0:
        own = {os.getegid(), *os.getgroups()}
        return (-1, gid) if gid is not None and gid in own else None
    uid = identity.uid if pool.listen_owner is None else find_uid(pool.listen_owner)
    return (-1 if uid is None else uid), (-1 if gid is None else gid)
