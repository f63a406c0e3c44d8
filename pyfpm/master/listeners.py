"""The listening sockets of a pool, open for as long as the pool lives."""

import contextlib
import os
import socket
from dataclasses import dataclass

from pyfpm.config import PoolOptions, TcpAddress, UnixAddress, format_address
from pyfpm.errors import SpawnError
from pyfpm.kernel.socket_path import clear_stale_socket
from pyfpm.master.identity import Identity, find_gid, find_uid

_SOMAXCONN = "/proc/sys/net/core/somaxconn"


@dataclass(frozen=True, slots=True)
class Listener:
    """One bound and listening socket; `path` is set for a Unix socket."""

    address: str
    sock: socket.socket
    path: str | None
    inode: tuple[int, int]

    @property
    def is_tcp(self) -> bool:
        """Whether peers come over TCP."""
        return self.path is None

    def remove_file(self) -> None:
        """Unlink a Unix socket's file, unless somebody else's stands there by now."""
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self.inode:
                os.unlink(self.path)

    def close(self) -> None:
        """Remove the file and close the master's copy of the socket."""
        self.remove_file()
        self.sock.close()


def open_listeners(pool: PoolOptions, identity: Identity) -> list[Listener]:
    """Bind every address of the pool, or none: SpawnError says which one failed and why."""
    opened: list[Listener] = []
    try:
        for address in pool.listen:
            match address:
                case UnixAddress(path):
                    opened.append(_open_unix(path, pool, identity))
                case TcpAddress():
                    opened += _open_tcp(address, pool)
    except (OSError, SpawnError) as error:
        for listener in opened:
            listener.close()
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise SpawnError(f"bind {format_address(address)}: {reason}") from error
    return opened


def _open_unix(path: str, pool: PoolOptions, identity: Identity) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The file gets its mode at birth, from the socket's own (Linux), and root never changes a mode
    # or an owner through a path that somebody could have replaced by a symbolic link meanwhile.
    # The master is single-threaded, so the umask is ours.
    umask = os.umask(0o022)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(path), 0o755)
        clear_stale_socket(path)
        os.fchmod(sock.fileno(), pool.listen_mode)
        os.umask(0)
        sock.bind(path)
    except (OSError, SpawnError):
        sock.close()
        raise
    finally:
        os.umask(umask)
    try:
        if os.geteuid() == 0:
            os.chown(path, *_socket_owner(pool, identity), follow_symlinks=False)
        elif pool.listen_group is not None:
            os.chown(path, -1, find_gid(pool.listen_group), follow_symlinks=False)
        sock.listen(_backlog(pool.listen_backlog))
        found = os.lstat(path)
    except OSError:
        sock.close()
        os.unlink(path)
        raise
    return Listener(path, sock, path, (found.st_dev, found.st_ino))


def _open_tcp(address: TcpAddress, pool: PoolOptions) -> list[Listener]:
    text = format_address(address)
    if not address.host:
        if socket.has_dualstack_ipv6():
            sock = _bind_tcp(socket.AF_INET6, ("::", address.port), pool, dual=True)
        else:  # IPv6 is switched off in many containers
            sock = _bind_tcp(socket.AF_INET, ("0.0.0.0", address.port), pool, dual=False)  # noqa: S104 - what a bare port asks for
        return [Listener(text, sock, None, (0, 0))]
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    unique = dict.fromkeys((family, place) for family, _, _, _, place in found)
    return [
        Listener(text, _bind_tcp(family, place, pool, dual=False), None, (0, 0))
        for family, place in unique
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


def _socket_owner(pool: PoolOptions, identity: Identity) -> tuple[int, int]:
    uid = identity.uid if pool.listen_owner is None else find_uid(pool.listen_owner)
    gid = identity.gid if pool.listen_group is None else find_gid(pool.listen_group)
    return (-1 if uid is None else uid), (-1 if gid is None else gid)
