"""The response to one request: head, body, end, and what happens when it cannot be finished.

**Invariant:** a response that failed midway is never completed. Nobody sends the empty STDOUT
record and END_REQUEST then; the connection is closed, and Apache and (with `fastcgi_keep_conn
on`) nginx report the truncation to the client. Before the first byte a failure is a clean 500.
"""

import os
from collections.abc import Callable, Iterable
from types import TracebackType

from pyfpm.cgi import BodyLength, ResponseHead, format_head, simple_response
from pyfpm.errors import ResponseError
from pyfpm.fastcgi import (
    SPLIT_BYTES,
    encode_end,
    encode_response,
    encode_stdout,
    encode_stdout_header,
)
from pyfpm.runtime.peer import Part, PeerGoneError, send_file, write_all, write_parts
from pyfpm.runtime.time_limit import time_limit
from pyfpm.units import counted

_os_write = os.write  # found once: see the engine

_ONE_WRITE_BYTES = 65000  # a head and body up to here leave in one copy and one write

# What of a longer body leaves together: more records than a socket takes at once, and few enough
# that framing a gigabyte costs no memory.
_GROUP_BYTES = 8 * SPLIT_BYTES

# The most whole pages in a record: the kernel passes them on as they are. One page more and the
# 16 that it takes at once are not enough.
FILE_RECORD_BYTES = 15 * 4096

# Answers of our own that must need no more memory than they have.
_PREPARED = {status: simple_response(status) for status in (500, 503, 504)}

_NO_LENGTH = BodyLength(None)  # bounds nothing and counts nothing, so all responses share it

ExcInfo = tuple[type[BaseException], BaseException, TracebackType]


class Response:
    """Writes one response to `fd`. Methods raise PeerGoneError when nobody listens any more."""

    __slots__ = (
        "_broken",
        "_fd",
        "_head",
        "_length",
        "_method",
        "_request_id",
        "_timeout_s",
        "abandoned",
        "begun",
        "body_bytes",
        "ended",
        "input_open",
        "peer_left",
        "status",
    )

    def __init__(self, fd: int, request_id: int, method: str, timeout_s: float) -> None:
        self._fd = fd
        self._request_id = request_id
        self._method = method
        self._timeout_s = timeout_s
        self._head: ResponseHead | None = None
        self._length = _NO_LENGTH
        self._broken = False
        self.abandoned = False  # in a child of the application, which must not answer
        self.begun = False
        self.body_bytes = 0
        self.ended = False
        self.input_open = False  # more of the request's body is to come
        self.peer_left = False
        self.status = 0
        """The HTTP status that was set; 0 before `start`."""

    @property
    def fd(self) -> int:
        """The connection."""
        return self._fd

    @property
    def head(self) -> bytes:
        """The header block as the application gave it; empty before `start`."""
        return self._head.data if self._head is not None else b""

    def has_failed(self) -> bool:
        """Whether this is a failure of ours: a 5xx, or a response that the application broke off.

        A client that went away is neither.
        """
        return self.status >= 500 or not (self.ended or self.peer_left)

    def surplus_bytes(self) -> int:
        """How much of the body was cut because it exceeded its Content-Length."""
        return 0 if self.wants_no_body() else self._length.surplus_bytes

    def wants_no_body(self) -> bool:
        """Whether what the application produces as a body is dropped (HEAD, 204, 304)."""
        return self._head is not None and self._head.bodyless

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's start_response; ResponseError for a head that must not leave this process."""
        if exc_info is not None:
            try:
                if self.begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # breaks the reference cycle through this frame
            self._head = None  # if RequestTimeout lands in here, no head has another's length
            self.status = 0
        elif self._head is not None:
            raise ResponseError("start_response was called twice without exc_info")
        head = format_head(status, headers, self._method)
        if head.bodyless or head.content_length is not None:
            self._length = BodyLength(head.content_length, bodyless=head.bodyless)
        else:
            self._length = _NO_LENGTH
        self.status = head.status
        self._head = head
        return self.write

    def write(self, data: bytes) -> None:
        """Send a piece of the body now, after the head if that has not left yet."""
        if not isinstance(data, bytes):
            raise ResponseError(f"the body must be bytes, not {type(data).__name__}")
        self.write_part(data)

    def write_part(self, data: Part) -> None:
        """As `write`, for any memory; it may be used again afterwards."""
        time_limit.is_held = True
        try:
            self._write(data)
        finally:
            time_limit.release()

    def allow(self, size_bytes: int) -> int:
        """How many of so many bytes more the body may have."""
        return self._length.allow(size_bytes)

    def write_file(self, source: int, offset: int, records: int) -> int:
        """Send so many records of FILE_RECORD_BYTES straight from a file; where that ended in it.

        The body has begun, and `allow` allows more than this: its end is for `write_part`, because
        END_REQUEST has to leave with the last declared byte. ResponseError if the file is shorter.
        """
        header = encode_stdout_header(self._request_id, FILE_RECORD_BYTES)
        time_limit.is_held = True
        try:
            for _ in range(records):
                self._send([header], (source, offset))
                self._length.count(FILE_RECORD_BYTES)
                self.body_bytes += FILE_RECORD_BYTES
                offset += FILE_RECORD_BYTES
        finally:
            time_limit.release()
        return offset

    def announce(self, size_bytes: int) -> None:
        """All the body that is still to come is known to be so long; nothing is sent yet.

        Declares it where the application has not, if the head has not left; ResponseError if the
        application has declared more.
        """
        head = self._head
        if head is None:
            raise ResponseError("the application returned without calling start_response")
        if (missing := self._length.missing_bytes()) > size_bytes:
            short = missing - size_bytes
            raise ResponseError(
                f"the body is {counted(short, 'byte')} shorter than its Content-Length"
            )
        if head.content_length is None and not head.bodyless:
            lines = b"%bContent-Length: %d\r\n" % (head.lines, size_bytes)
            self._length = BodyLength(size_bytes)
            self._head = ResponseHead(lines, head.status, bodyless=False, content_length=size_bytes)

    def _write(self, data: Part) -> None:
        head = self._head
        if head is None:
            raise ResponseError("the body began before start_response was called")
        data = self._length.admit(data)
        length = len(data)
        if not length:
            return
        # With its last declared byte the response is complete for the client, and the web server
        # may close the connection before an END_REQUEST of its own write arrives. But not while the
        # application may still read: with END_REQUEST the next request may come, behind its body.
        is_last = head.content_length is not None and not self._length.missing_bytes()
        is_last = is_last and not self.input_open
        parts = [] if self.begun else encode_stdout(self._request_id, head.data)
        self.begun = True
        start = 0
        if length > _GROUP_BYTES:
            view = memoryview(data)
            while length - start > _GROUP_BYTES:
                parts += encode_stdout(self._request_id, view[start : start + _GROUP_BYTES])
                self._send(parts)
                parts = []
                start += _GROUP_BYTES
                self.body_bytes += _GROUP_BYTES
            data = view[start:]
        parts += encode_stdout(self._request_id, data)
        if is_last:
            parts.append(encode_end(self._request_id))
        self._send(parts)
        self.body_bytes += len(data)
        self.ended = is_last

    def _send(self, parts: list[Part], from_file: tuple[int, int] | None = None) -> None:
        """Write, unless a write has failed before or the response has ended.

        `from_file` is a descriptor and an offset where FILE_RECORD_BYTES more are to come from.

        An application may catch the failure of `write` and go on. A record was cut short then,
        and the web server would read whatever follows as the rest of it. And it may keep `write`
        and call it later: that would become part of the next response on the connection.
        """
        if self._broken or self.ended or self.abandoned:
            raise PeerGoneError("the response is over")
        try:
            if len(parts) == 1:
                self._send_one(parts[0])
            else:
                write_parts(self._fd, parts, self._timeout_s)
            if from_file is not None:
                source, offset = from_file
                send_file(self._fd, source, offset, FILE_RECORD_BYTES, self._timeout_s)
        except PeerGoneError:
            self._broken = self.peer_left = True
            raise
        except BaseException:  # RequestTimeout while the peer did not read, or no memory
            self._broken = True
            raise

    def _send_one(self, part: Part) -> None:
        try:
            written = _os_write(self._fd, part)
        except OSError:  # whatever it is, it happens again
            written = 0
        if written != len(part):
            write_all(self._fd, memoryview(part)[written:], self._timeout_s)

    def finish(self, body: bytes = b"") -> None:
        """Send the rest of the body and END_REQUEST.

        ResponseError if the body is shorter than its Content-Length; nothing is sent then. The
        caller holds `time_limit`.
        """
        head = self._head
        if head is None:
            raise ResponseError("the application returned without calling start_response")
        if self.ended:
            return
        length = self._length
        if length is not _NO_LENGTH:
            body = length.admit(body)
            if missing := length.missing_bytes():
                raise ResponseError(
                    f"the body is {counted(missing, 'byte')} shorter than its Content-Length"
                )
        if self.begun:
            parts = encode_stdout(self._request_id, body) if body else []
            parts.append(encode_end(self._request_id))
            self._send(parts)
            self.body_bytes += len(body)
            self.ended = True
            return
        if length is _NO_LENGTH:
            size = len(body)
            data = head.lines + f"Content-Length: {size}\r\n\r\n".encode("latin-1")
        else:
            data = head.data
        if len(data) + len(body) < _ONE_WRITE_BYTES:
            parts = [encode_response(self._request_id, data, body)]
        else:
            parts = encode_stdout(self._request_id, data)
            parts += encode_stdout(self._request_id, body)
            parts.append(encode_end(self._request_id))
        self.begun = True
        self._send(parts)
        self.body_bytes = len(body)
        self.ended = True

    def close(self) -> None:
        """The exchange is over; whoever kept `write` cannot write any more."""
        self._broken = True

    def fail(self, status: int, text: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with an error page of our own, which is possible only before the first byte."""
        prepared = None if text or headers else _PREPARED.get(status)
        head, body = prepared or simple_response(status, text, headers)
        if self._method == "HEAD":
            body = b""
        self._head = ResponseHead(head[:-2], status, bodyless=False, content_length=len(body))
        self.status = status
        self.begun = True
        self._send([encode_response(self._request_id, head, body)])
        self.body_bytes = len(body)
        self.ended = True
