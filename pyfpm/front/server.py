"""waitress, set up for the gateway."""

import logging
import socket
import struct

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import WSGITask

from pyfpm.front.gateway import CutOffError, Gateway

CONNECTION_LIMIT = 1000

# l_onoff, l_linger: close(2) sends a reset instead of an orderly end.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Task(WSGITask):
    """Lets the client of a cut off response see that it was.

    A chunked body lacks its last chunk and a body with a length lacks bytes. But a response to
    HTTP/1.0 without a length ends where the connection ends: there a reset makes the difference.
    """

    def execute(self) -> None:
        try:
            super().execute()
        except CutOffError:
            if not self.chunked_response and self.content_length is None:
                self.channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            raise


class _Channel(HTTPChannel):
    task_class = _Task


def serve(sock: socket.socket, gateway: Gateway, *, threads: int) -> None:
    """Serve HTTP on the bound socket until SystemExit is raised (by a signal handler)."""
    logging.getLogger("waitress").setLevel(logging.ERROR)  # its warnings are about our own tuning
    server = create_server(
        gateway,
        sockets=[sock],
        threads=threads,
        ident="pyfpm",
        connection_limit=CONNECTION_LIMIT,
        asyncore_use_poll=True,
        # waitress then treats an OSError out of the gateway as a lost connection, silently: the
        # gateway has already logged why.
        log_socket_errors=False,
    )
    server.channel_class = _Channel
    server.run()
