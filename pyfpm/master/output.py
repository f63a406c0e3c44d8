"""What workers print, line by line into the log.

One pipe per stream and process. Lines are kept apart per stream, so that a half line of one
worker is never glued to another's, and what a worker prints cannot look like a line of the master
(logs.formats cleans it). A read takes a bounded amount, so a worker that floods its pipe waits.
"""

import asyncio
import os
from collections.abc import Callable

from pyfpm.master.state import SavedPipe

_READ_BYTES = 65536

Emit = Callable[[str, str], None]
"""Takes the stream's name (`stdout`, `stderr`) and one line."""


class OutputPipe:
    """Reads one stream of one process until its end."""

    def __init__(
        self,
        stream: str,
        limit: int,
        emit: Emit,
        owner: tuple[int, int] | None,
        saved: SavedPipe | None = None,
    ) -> None:
        """`limit` is the longest line in bytes; `owner` may reopen /dev/stdout by its path.

        `saved` is one that came through an exec: it has no writer here.
        """
        if saved is None:
            self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._reader, False)
            if owner is not None:
                os.fchown(self.writer, *owner)
        else:
            self._reader = saved.descriptor
        self._stream = stream
        self._limit = limit
        self._emit = emit
        self._rest = b"" if saved is None else saved.rest.encode("latin-1")
        self._open = True
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    def close_writer(self) -> None:
        """The other process has its copy now."""
        os.close(self.writer)

    def save(self) -> SavedPipe | None:
        """For the next master; None at the end of the stream."""
        if not self._open:
            return None
        return SavedPipe(self._stream, self._reader, self._limit, self._rest.decode("latin-1"))

    def _read(self) -> None:
        try:
            data = os.read(self._reader, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._put(line)
        while len(self._rest) > self._limit:
            self._put(self._rest[: self._limit])
            self._rest = self._rest[self._limit :]

    def _put(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, self._limit):
            piece = line[start : start + self._limit]
            self._emit(self._stream, piece.decode("utf-8", "backslashreplace"))

    def drain(self) -> None:
        """Take what is there without waiting for more: the process has ended.

        Its children may keep the pipe open for long, so the end may never come.
        """
        for _ in range(64):
            if not self._open:
                return
            before = self._rest
            self._read()
            if self._rest == before:
                return

    def close(self) -> None:
        """Emit the last half line and close."""
        if not self._open:
            return
        self._open = False
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        if self._rest:
            self._put(self._rest)
            self._rest = b""
