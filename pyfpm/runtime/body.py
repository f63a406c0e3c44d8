"""Request bodies as `wsgi.input`.

A body that arrived in full is an io.BytesIO. A longer one streams: STDIN records are read from
the connection while the application reads. The end of STDIN is the truth and CONTENT_LENGTH a
claim: the body ends at the smaller of both, and a body that ends before its declared length is
an error for the application, never a short body that looks whole.
"""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pyfpm.runtime.time_limit import RequestTimeout, time_limit
from pyfpm.scoreboard.refusal import Refusal
from pyfpm.units import counted

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE_BYTES = 256 * 1024


class BodyError(OSError):
    """The body cannot be read to its end: the client left, was too slow or sent too much.

    `status` is what the client gets if the application lets the error through: 400, 408 or 413.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StreamedBody(io.RawIOBase):
    """The raw half of a streaming body; wrapped in io.BufferedReader it is `wsgi.input`.

    `buffered` is what has arrived already; `receive` puts more into the memory that it is given,
    waiting for the first byte, and returns how much, 0 at the end of STDIN. `declared` is
    CONTENT_LENGTH or None, `most` the limit in bytes or 0. `refused` hears of a body that is too
    short or too long.
    """

    def __init__(
        self,
        buffered: Sequence[bytes | bytearray],
        receive: Callable[[memoryview], int],
        declared: int | None,
        most: int,
        refused: Callable[[Refusal, str], None] | None = None,
    ) -> None:
        super().__init__()
        self._chunks = [memoryview(chunk) for chunk in reversed(buffered)]
        self._receive = receive
        self._declared = declared
        self._most = most
        self._refused = refused
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
                return self._read_into(memoryview(buffer).cast("B"))
            finally:
                time_limit.release()
        except RequestTimeout:
            self._interrupted = True
            raise

    def readall(self) -> bytes:
        """The rest of the body. io.RawIOBase would ask for it in pieces of 8 KiB."""
        whole = io.BytesIO()  # gives its memory away in the end, so no second copy is made
        piece = memoryview(bytearray(_PIECE_BYTES))
        while size := self.readinto(piece):
            whole.write(piece[:size])
        return whole.getvalue()

    def _read_into(self, target: memoryview) -> int:
        if self._declared is not None:
            target = target[: self._declared - self._count]
        if not target:
            return 0
        size = self._take_buffered(target)
        if not size and not self._ended:
            size = self._receive(target)
            self._ended = not size
        self._count += size
        if not size and self._declared is not None:
            text = (
                f"the request body ended after {self._count} of {counted(self._declared, 'byte')}"
            )
            raise self._refuse(400, Refusal.BAD_REQUEST, text)
        if self._most and self._count > self._most:
            text = f"the request body exceeds request_max_body ({counted(self._most, 'byte')})"
            raise self._refuse(413, Refusal.TOO_LARGE, text)
        return size

    def _refuse(self, status: int, reason: Refusal, text: str) -> BodyError:
        if self._refused is not None:
            self._refused(reason, text)
            self._refused = None  # an application may try again and again
        return BodyError(status, text)

    def _take_buffered(self, target: memoryview) -> int:
        chunks = self._chunks
        taken = 0
        while chunks and taken < len(target):
            chunk = chunks[-1]
            size = min(len(target) - taken, len(chunk))
            target[taken : taken + size] = chunk[:size]
            taken += size
            if size == len(chunk):
                chunks.pop()
            else:
                chunks[-1] = chunk[size:]
        return taken
