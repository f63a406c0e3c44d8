"""How many connections wait at a listening socket, and how many may.

TCP sockets say so in TCP_INFO: for a listener `unacked` is the queue and `sacked` its limit.
Unix sockets say so only through netlink (sock_diag(7)): UNIX_DIAG_RQLEN of a listener holds the
queue and the backlog. PHP-FPM reads the first alone and reports 0 on Unix sockets. UNIX_DIAG_VFS
names the inode of the file that a socket was bound to, under whatever name it stands now.
"""

import errno
import os
import socket
import struct
from dataclasses import dataclass

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_UDIAG_SHOW_VFS = 0x02
_UDIAG_SHOW_RQLEN = 0x10
_UNIX_DIAG_VFS = 1
_UNIX_DIAG_RQLEN = 4
_NO_COOKIE = 0xFFFFFFFF

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_UNIX_REQUEST = struct.Struct("=BBHIIIII")  # struct unix_diag_req
_UNIX_ANSWER_BYTES = 16  # struct unix_diag_msg
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_PAIR = struct.Struct("=II")
_TCP_INFO_UNACKED_AT = 24


@dataclass(frozen=True, slots=True)
class ListenQueue:
    """Connections that wait, and the most that may wait."""

    waiting: int
    limit: int


def read_listen_queue(listener: socket.socket) -> ListenQueue:
    """The queue of a listening TCP or Unix socket; OSError where the kernel does not say."""
    if listener.family == socket.AF_UNIX:
        return ListenQueue(*_ask_unix(listener, _UDIAG_SHOW_RQLEN, _UNIX_DIAG_RQLEN))
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        # TCP_INFO locks whatever does not listen, and who holds it too may have it locked for ever.
        raise OSError(errno.EINVAL, "it does not listen")
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    return ListenQueue(*_PAIR.unpack_from(info, _TCP_INFO_UNACKED_AT))


def read_file_inode(bound: socket.socket) -> int:
    """The inode of the file of a bound Unix socket, its low 32 bits: the kernel tells no more.

    OSError where the kernel does not say, or where the socket has no file.
    """
    return _ask_unix(bound, _UDIAG_SHOW_VFS, _UNIX_DIAG_VFS)[0]


def _ask_unix(sock: socket.socket, show: int, attribute: int) -> tuple[int, int]:
    inode = os.fstat(sock.fileno()).st_ino
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        request = _UNIX_REQUEST.pack(
            socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, show, _NO_COOKIE, _NO_COOKIE
        )
        size = _HEADER.size + len(request)
        header = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
        netlink.settimeout(1.0)
        netlink.send(header + request)
        return _parse_unix(netlink.recv(8192), attribute)


def _parse_unix(answer: bytes, wanted: int) -> tuple[int, int]:
    """The two numbers of an attribute."""
    size, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        error = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        raise OSError(error, f"sock_diag: {os.strerror(error)}")
    at = _HEADER.size + _UNIX_ANSWER_BYTES
    while at + _ATTRIBUTE.size <= min(size, len(answer)):
        length, attribute = _ATTRIBUTE.unpack_from(answer, at)
        if attribute == wanted:
            first, second = _PAIR.unpack_from(answer, at + _ATTRIBUTE.size)
            return first, second
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    raise OSError(f"sock_diag: the answer holds no attribute {wanted}")
