"""Listening sockets that systemd passes to the master: sd_listen_fds(3).

They arrive from descriptor 3 on, with LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES in the
environment. The originals stay open as long as this process lives, whether a pool uses them or
not: systemd keeps them listening either way, and a later reload may ask for them (again). A pool
gets duplicates, so that its listener can be closed like any other.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Collection, Mapping, MutableMapping
from typing import Self

from pyfpm.config import TcpAddress, format_address, is_loopback, open_to_all
from pyfpm.errors import SpawnError
from pyfpm.kernel.bare_socket import refuse_descriptors

_FIRST = 3
_LISTEN_PID = "LISTEN_PID"
_LISTEN_FDS = "LISTEN_FDS"
_LISTEN_FDNAMES = "LISTEN_FDNAMES"
_LISTEN_PIDFDID = "LISTEN_PIDFDID"  # from systemd 258 on, beside LISTEN_PID
# What sd_listen_fds_with_names(3) says where nobody gave names.
_NAMELESS = "unknown"
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)


class PassedSockets:
    """Descriptors by number, each with its name; several may have the same one."""

    def __init__(self, names: Mapping[int, str] | None = None) -> None:
        self._names = dict(names or {})

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self:
        """As the variables in `environ` say, which are removed there.

        They count only where LISTEN_PID is this process. Call it before going to the background:
        the process that systemd started is the parent then. The descriptors become close-on-exec.
        """
        pid = environ.pop(_LISTEN_PID, "")
        count = environ.pop(_LISTEN_FDS, "")
        given = environ.pop(_LISTEN_FDNAMES, "")
        environ.pop(_LISTEN_PIDFDID, None)
        if pid != str(os.getpid()) or not count.isdecimal():
            return cls()
        names = given.split(":") if given else []
        names += [_NAMELESS] * (int(count) - len(names))
        passed = cls(dict(enumerate(names[: int(count)], start=_FIRST)))
        for descriptor in passed.descriptors:
            with contextlib.suppress(OSError):  # closed: said when a pool asks for it
                os.set_inheritable(descriptor, False)
        return passed

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The numbers; an exec of this same process must make them inheritable."""
        return tuple(self._names)

    def environment(self) -> dict[str, str]:
        """The variables once more, for this same process after an exec of itself."""
        if not self._names:
            return {}
        return {
            _LISTEN_PID: str(os.getpid()),
            _LISTEN_FDS: str(len(self._names)),
            _LISTEN_FDNAMES: ":".join(self._names.values()),
        }

    def unused(self, wanted: Collection[str]) -> list[str]:
        """Names that were passed and are not among those that pools listen on."""
        return [name for name in dict.fromkeys(self._names.values()) if name not in wanted]

    def duplicate(self, name: str, *, is_limited: bool) -> list[socket.socket]:
        """Duplicates of all sockets of this name.

        `is_limited` says whether the pool has listen.allowed_clients: without, a socket that other
        machines reach is refused, as it is for host:port. SpawnError for that, for a name that was
        not passed, and for a descriptor that is no listening stream socket.
        """
        found = [number for number, known in self._names.items() if known == name]
        if not found:
            raise SpawnError(self._unknown())
        sockets: list[socket.socket] = []
        try:
            for number in found:
                sockets.append(_duplicate(number))
                _check(sockets[-1], number, is_limited=is_limited)
        except SpawnError:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    def _unknown(self) -> str:
        if not self._names:
            return "systemd passed no sockets: start the service by its socket unit"
        names = ", ".join(dict.fromkeys(self._names.values()))
        return (
            f"systemd passed no socket of this name, but {names};"
            " set FileDescriptorName= in the socket unit"
        )


def address_of(sock: socket.socket) -> str:
    """Where a socket listens, as text; `@name` for an abstract Unix socket."""
    place = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return format_address(TcpAddress(place[0], place[1]))
    if isinstance(place, bytes):
        return "@" + place[1:].decode(errors="backslashreplace")
    return str(place)


def _duplicate(number: int) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            raise SpawnError(f"descriptor {number} is no socket")
        return socket.socket(fileno=os.dup(number))
    except OSError as error:
        raise SpawnError(f"descriptor {number}: {error.strerror}") from error


def _check(sock: socket.socket, number: int, *, is_limited: bool) -> None:
    if sock.family not in _FAMILIES or sock.type != socket.SOCK_STREAM:
        raise SpawnError(
            f"descriptor {number} is no Unix or TCP stream socket; use ListenStream= in its unit"
        )
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise SpawnError(f"descriptor {number} does not listen; set Accept=no in its unit")
    if sock.family == socket.AF_UNIX:
        refuse_descriptors(sock)
        return
    # Accepted sockets inherit it: one small write per response must not wait for an ACK.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    host, port = sock.getsockname()[:2]
    if not is_limited and not is_loopback(host):
        remedy = f"ListenStream=127.0.0.1:{port} in its unit"
        raise SpawnError(open_to_all(address_of(sock), remedy))
