"""What workers print, line by line into the log.

One pipe per stream and process. Lines are kept apart per stream, so that a half line of one
worker is never glued to another's, and what a worker prints cannot look like a line of the master
(logs.formats cleans it). One turn takes a bounded number of lines, and `Flow` bounds what a pool
may print in a second.
"""

import asyncio
import os
from collections.abc import Callable

from pyfpm.master.flow import Flow
from pyfpm.master.state import SavedPipe

_READ_BYTES = 65536
_LINES_AT_ONCE = 256
_DRAINED_TURNS = 64
_LOOK_AGAIN_S = 0.02
_DROP_AGAIN_S = 0.05
"""A pipe of a flooded pool is emptied so often: 1.3 MB a second at most."""

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
        flow: Flow,
        saved: SavedPipe | None = None,
    ) -> None:
        """`limit` is the longest line in bytes; `owner` may reopen /dev/stdout by its path.

        `flow` is the budget of the pool. `saved` is one that came through an exec: it has no
        writer here.
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
        self._flow = flow
        self._pause: asyncio.TimerHandle | None = None
        if b"\n" in self._rest:
            self._wait(0)
        else:
            asyncio.get_running_loop().add_reader(self._reader, self._read)

    def close_writer(self) -> None:
        """The other process has its copy now."""
        os.close(self.writer)

    def save(self) -> SavedPipe | None:
        """For the next master; None at the end of the stream."""
        if not self._open:
            return None
        return SavedPipe(self._stream, self._reader, self._limit, self._rest.decode("latin-1"))

    def _wait(self, seconds: float) -> None:
        """Read no more for a while; the process waits in its write once the pipe is full."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._reader)
        if self._pause is None:
            self._pause = loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._reader, self._read)
        self._read()

    def _read(self) -> None:
        if self._flow.is_open:
            if self._take(drop=False) and b"\n" in self._rest:
                self._wait(0)
        elif not self._flow.is_flooded:
            self._wait(_LOOK_AGAIN_S)
        elif self._take(drop=True):
            self._wait(_DROP_AGAIN_S)

    def _take(self, *, drop: bool) -> bool:
        """Emit a bounded number of lines, or drop all; False if nothing was there."""
        if b"\n" not in self._rest:
            try:
                data = os.read(self._reader, _READ_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if not data:
                self.close()
                return False
            self._rest += data
        if drop:
            self._drop()
            return True
        *lines, self._rest = self._rest.split(b"\n", _LINES_AT_ONCE)
        for line in lines:
            self._put(line)
        while len(self._rest) > self._limit and b"\n" not in self._rest:
            self._put(self._rest[: self._limit])
            self._rest = self._rest[self._limit :]
        return True

    def _drop(self) -> None:
        """What was begun and has not ended stays: the line may be over before its rest comes."""
        whole, end, rest = self._rest.rpartition(b"\n")
        self._rest = rest[-self._limit :]
        self._flow.drop(
            len(whole) + len(end) + len(rest) - len(self._rest), whole.count(b"\n") + len(end)
        )

    def _put(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, self._limit):
            piece = line[start : start + self._limit]
            self._flow.spend(len(piece))
            self._emit(self._stream, piece.decode("utf-8", "backslashreplace"))

    def drain(self) -> None:
        """Take what is there without waiting for more: the process has ended.

        Its children may keep the pipe open for long, so the end may never come.
        """
        for _ in range(_DRAINED_TURNS):
            if not self._open or not self._take(drop=not self._flow.is_open):
                return

    def close(self) -> None:
        """Emit the last half line and close."""
        if not self._open:
            return
        self._open = False
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        *dropped, last = self._rest.split(b"\n")
        if dropped:
            self._flow.drop(len(self._rest) - len(last), len(dropped))
        if last:
            self._put(last)
        self._rest = b""
