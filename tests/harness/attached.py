"""Messages with descriptors whose last close(2) waits: for their receiver, where it drops them."""

import contextlib
import errno
import inspect
import socket
import struct
from collections.abc import Iterator

from harness.lingering import HOUR_S, linger


@contextlib.contextmanager
def deaf_peer() -> Iterator[int]:
    """Listen and read nothing; yield the port. At the end every close that waited is let go."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def send_lingering(target, data, port, flags=0):
    """Send `data` with a connection to the deaf peer; "sent", or the name of the error."""
    held = socket.create_connection(("127.0.0.1", port))
    linger(held)
    try:
        socket.send_fds(target, [data], [held.fileno()], flags)
    except OSError as error:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return errno.errorcode[error.errno]
    else:
        return "sent"
    finally:
        held.close()


SOURCE = f"import errno, os, signal, socket, struct\nHOUR_S = {HOUR_S}\n" + "\n\n".join(
    inspect.getsource(one) for one in (linger, send_lingering)
)
"""The same for an application."""
