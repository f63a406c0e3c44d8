"""Sockets whose last close waits: how a tenant would keep whoever closes them."""

import socket
import struct

HOUR_S = 3600


def linger(sock: socket.socket) -> None:
    """Fill a TCP connection that nobody reads from, and have its close wait for an hour."""
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        pass
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, HOUR_S))


def make_lingering() -> tuple[socket.socket, socket.socket]:
    """Such a connection, and its other end, which is to be kept open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    linger(ours)
    return ours, theirs
