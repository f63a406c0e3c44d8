"""Request bodies as `wsgi.input`.

A body that arrived in full is an io.BytesIO. A longer one streams: STDIN records are read from
the connection while the application reads. The end of STDIN is the truth and CONTENT_LENGTH a
claim: the body ends at the smaller of both, and a body that ends before its declared length is
an error for the application, never a short body that looks whole.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyfpm.runtime.time_limit import RequestTimeout, time_limit

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class BodyError(OSError):
    """The body cannot be read to its end: the client left, was too slow or sent too much.

    `status` is what the client gets if the application lets the error through: 400, 408 or 413.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StreamedBody(io.RawIOBase):
    """The raw half of a streaming body; wrapped in io.BufferedReader it is `wsgi.input`.

    `buffered` is what has arrived already; `receive` waits for more and returns chunks, an empty
    list at the end of STDIN. `declared` is CONTENT_LENGTH or None, `most` the limit in bytes or 0.
    """

    def __init__(
        self,
        buffered: list[bytes],
        receive: Callable[[], list[bytes]],
        declared: int | None,
        most: int,
    ) -> None:
        super().__init__()
        self._chunks = [memoryview(chunk) for chunk in reversed(buffered)]
        self._receive = receive
        self._declared = declared
        self._most = most
        self._count = 0
        self._ended = False
        self._interrupted = False

    def readable(self) -> bool:
        """True: this is for reading."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill `buffer` with what comes next; 0 at the end, BodyError if there is no proper end.

        After RequestTimeout there is no more: io.BufferedReader has thrown away what it had read
        for its caller, and the application would see a body with a hole.
        """
        if self._interrupted:
            raise BodyError(504, "reading the request body was interrupted")
        try:
            time_limit.is_held = True
            try:
                return self._read_into(buffer)
            finally:
                time_limit.release()
        except RequestTimeout:
            self._interrupted = True
            raise

    def _read_into(self, buffer: "WriteableBuffer") -> int:
        target = memoryview(buffer).cast("B")
        if self._declared is not None:
            target = target[: self._declared - self._count]
        if not target or not self._refill():
            return 0
        chunk = self._chunks[-1]
        size = min(len(target), len(chunk))
        target[:size] = chunk[:size]
        if size == len(chunk):
            self._chunks.pop()
        else:
            self._chunks[-1] = chunk[size:]
        self._count += size
        if self._most and self._count > self._most:
            raise BodyError(413, f"the request body exceeds request_max_body ({self._most} bytes)")
        return size

    def _refill(self) -> bool:
        while not self._chunks and not self._ended:
            fresh = self._receive()
            self._ended = not fresh
            self._chunks = [memoryview(chunk) for chunk in reversed(fresh)]
        if self._chunks:
            return True
        if self._declared is not None and self._count < self._declared:
            raise BodyError(
                400, f"the request body ended after {self._count} of {self._declared} bytes"
            )
        return False
