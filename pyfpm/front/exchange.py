"""One request to a FastCGI responder, as a web server makes it.

The body is sent while the response is read: a responder may answer before it has taken the body
(a 413), and one that streams its answer back while reading would otherwise wait for us while we
wait for it. Both directions pass in pieces; neither is ever held as a whole.
"""

import errno
import select
import socket
from collections.abc import Iterable, Iterator
from typing import Protocol

from pyfpm.config.addresses import Address, TcpAddress, UnixAddress, format_address
from pyfpm.errors import ProtocolError, PyfpmError, reason_of
from pyfpm.fastcgi import (
    ClientConnection,
    EndRequest,
    Role,
    Stderr,
    Stdout,
    encode_begin,
    encode_params,
    encode_stdin,
)
from pyfpm.kernel.bare_socket import refuse_descriptors

PIECE_BYTES = 32 * 1024
REQUEST_ID = 1  # one request a connection, as nginx and Apache do


class ResponderError(PyfpmError):
    """The responder did not give a complete answer."""


class ResponderUnreachableError(ResponderError):
    """No connection to the responder: nothing was sent."""


class ResponderTimeoutError(ResponderError):
    """The responder neither took nor sent a byte for too long."""


class Readable(Protocol):
    """The request body: `read(n)` returns at most n bytes, none at the end."""

    def read(self, size: int, /) -> bytes:
        """The next piece."""


def connect(address: Address, timeout_s: float) -> socket.socket:
    """A connected socket; raises ResponderUnreachableError with the address and the reason."""
    try:
        match address:
            case UnixAddress(path):
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                refuse_descriptors(sock)
                sock.settimeout(timeout_s)
                try:
                    sock.connect(path)
                except OSError:
                    sock.close()
                    raise
                return sock
            case TcpAddress(host, port):
                sock = socket.create_connection((host or "localhost", port), timeout_s)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
    except OSError as error:
        place = format_address(address)
        raise ResponderUnreachableError(f"connect {place}: {reason_of(error)}") from None


class Exchange:
    """Sends one request over a connected socket and yields the answer's events.

    `body` is read in pieces. `timeout_s` bounds the time without a byte in either direction.
    Closes the socket when the answer is complete, when it fails, and on `close`.
    """

    def __init__(
        self,
        sock: socket.socket,
        params: Iterable[tuple[bytes, bytes]],
        body: Readable,
        *,
        timeout_s: float,
    ) -> None:
        self._sock = sock
        self._body = body
        self._timeout_s = timeout_s
        begin = encode_begin(REQUEST_ID, Role.RESPONDER, keep_conn=False)
        self._unsent = memoryview(begin + encode_params(REQUEST_ID, params))
        self._is_body_sent = False
        sock.setblocking(False)

    def close(self) -> None:
        """Give the request up; a responder takes the closed connection for an abort."""
        self._sock.close()

    def events(self) -> Iterator[Stdout | Stderr | EndRequest]:
        """The answer's events; the last one is EndRequest.

        Raises ResponderError when the answer ends without it, ProtocolError when it is no FastCGI.
        """
        connection = ClientConnection()
        poll = select.poll()
        try:
            while True:
                poll.register(self._sock, select.POLLIN | (0 if self._is_sent else select.POLLOUT))
                ready = poll.poll(self._timeout_s * 1000)
                if not ready:
                    raise ResponderTimeoutError(
                        f"no byte from the responder for {self._timeout_s:g} s"
                    )
                if ready[0][1] & select.POLLOUT:
                    self._send_some()
                if ready[0][1] & ~select.POLLOUT:
                    for event in connection.receive(self._receive_some()):
                        if not isinstance(event, Stdout | Stderr | EndRequest):
                            raise ProtocolError(f"{event!r} was not asked for")
                        if event.request_id != REQUEST_ID:
                            raise ProtocolError(f"answer to request {event.request_id}, not sent")
                        yield event
                        if isinstance(event, EndRequest):
                            return
        finally:
            self.close()

    @property
    def _is_sent(self) -> bool:
        return self._is_body_sent and not self._unsent

    def _send_some(self) -> None:
        if not self._unsent:
            # The empty piece at the end is the empty record that ends the stream.
            piece = self._body.read(PIECE_BYTES)
            self._is_body_sent = not piece
            self._unsent = memoryview(encode_stdin(REQUEST_ID, piece))
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise ResponderError(f"send to the responder: {reason_of(error)}") from None
            # The responder takes no more; what it has to say about that may still arrive.
            self._is_body_sent = True
            self._unsent = memoryview(b"")

    def _receive_some(self) -> bytes:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:  # poll may report what another check then takes back
            return b""
        except OSError as error:
            raise ResponderError(f"the responder broke off: {reason_of(error)}") from None
        if not data:
            raise ResponderError("the responder closed the connection before the end of its answer")
        return data
