"""One accepted connection, and the request that is under way on it."""

import os
from sys import getsizeof

from pyfpm.cgi import declared_length
from pyfpm.errors import BadRequest
from pyfpm.fastcgi import Limits, ServerConnection

# Pieces of a body below this are put together: as objects of their own they would cost up to thirty
# times what they hold, and a client chooses how it cuts its body.
_SMALL_BYTES = 4096


class Connection:
    """Plain state; the engine moves it between parked, waiting, served and lingering.

    `environ` is None until a request's PARAMS are complete; `declared` is its CONTENT_LENGTH, or
    None where there is no usable one. `body` holds buffered STDIN chunks of
    `body_bytes` in all; `body_done` says that the end of STDIN was seen. `held_bytes` is what the
    table of connections has counted for it against `request_buffer_total`.
    """

    __slots__ = (
        "body",
        "body_bytes",
        "body_done",
        "codec",
        "deadline_ns",
        "declared",
        "environ",
        "environ_bytes",
        "fd",
        "held_bytes",
        "keep",
        "registered",
        "request_id",
        "served",
    )

    def __init__(self, fd: int, limits: Limits, values: dict[str, str]) -> None:
        self.fd = fd
        self.codec = ServerConnection(limits, values)
        self.registered = False
        self.deadline_ns = 0
        self.served = 0
        self.body: list[bytes | bytearray] = []
        self.clear_request()

    def clear_request(self) -> None:
        """Forget the request that has ended."""
        self.environ: dict[str, object] | None = None
        self.environ_bytes = 0
        self.declared: int | None = None
        self.request_id = 0
        self.keep = False
        if self.body:
            self.body = []
        self.body_bytes = 0
        self.body_done = False
        self.held_bytes = 0

    def add_to_body(self, piece: bytes) -> None:
        """Buffer the content of one STDIN record."""
        body = self.body
        self.body_bytes += len(piece)
        last = body[-1] if body and len(piece) < _SMALL_BYTES else None
        if isinstance(last, bytearray) and len(last) < 16 * _SMALL_BYTES:
            last += piece
        elif last is not None and len(last) < _SMALL_BYTES:
            body[-1] = bytearray(last) + piece
        else:
            body.append(piece)

    def waiting_bytes(self) -> int:
        """How much memory the half-sent request takes up, at least 1.

        The environ is measured, not its encoded form: four bytes of that can cost a hundred.
        """
        environ = self.environ
        if environ is not None and not self.environ_bytes:
            self.environ_bytes = getsizeof(environ) + sum(map(getsizeof, environ))
            self.environ_bytes += sum(map(getsizeof, environ.values()))
        return max(1, self.environ_bytes + self.body_bytes + self.codec.buffered_bytes)

    def read_declared_length(self, most: int) -> None:
        """Read CONTENT_LENGTH, and refuse the request by it before its body is read.

        BadRequest: 400 where it is malformed, 413 where it exceeds `most` bytes (0: no bound).
        """
        environ = self.environ
        if environ is None or "CONTENT_LENGTH" not in environ:
            return
        self.declared = declared_length(environ)
        if most and self.declared is not None and self.declared > most:
            raise BadRequest(413, f"{self.declared} bytes of body, request_max_body is {most}")

    def close(self) -> None:
        """Close the descriptor; the caller has taken it out of its epoll."""
        # A streaming body in the environ reads from this connection: a ring, and only the garbage
        # collector would find it.
        self.clear_request()
        os.close(self.fd)
