"""The stacks of a worker's threads: asked for by a signal, read from a pipe.

faulthandler writes them in the worker from inside the C signal handler, so they also come from a
worker that is blocked in C or holds the GIL for long; nothing of the worker's Python runs. The
format has no end mark: the end is that the pipe stays quiet for a moment.

The pipe does not block its writer. A thread of the worker would otherwise stand in its signal
handler until somebody reads. What does not fit is lost, and faulthandler writes the main thread
last, so the pipe is made larger while stacks are asked for.
"""

import asyncio
import contextlib
import fcntl
import os

from pyfpm.kernel.pidfd import send_signal
from pyfpm.messages import ReservedSignal

COLLECT_S = 0.5
"""How long a worker has to begin its answer."""
_QUIET_S = 0.1
_MOST_BYTES = 256 * 1024
_USUAL_BYTES = 64 * 1024
# What nobody asked for goes first; no more, for a hostile worker can write as fast as we read.
_STALE_READS = 4


class StackPipe:
    """Takes the stacks of one worker. `writer` goes to it with Spawn."""

    def __init__(self, saved: int | None = None) -> None:
        """`saved` is the descriptor of one that came through an exec; it has no writer here."""
        if saved is None:
            self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        else:
            self._reader = saved
        self._open = True
        self._collecting: asyncio.Task[str] | None = None
        self._readable: asyncio.Future[bool] | None = None

    @property
    def descriptor(self) -> int | None:
        """What the master reads, for the next one; None where the worker has ended."""
        return self._reader if self._open else None

    def close_writer(self) -> None:
        """The worker has its copy now."""
        os.close(self.writer)

    def close(self) -> None:
        """The worker has ended; whoever collects gets what there is."""
        if self._open:
            self._open = False
            self._wake(readable=False)
            os.close(self._reader)

    async def collect(self, pidfd: int, timeout_s: float = COLLECT_S) -> str:
        """The stacks that the process behind `pidfd` writes now; empty if it writes nothing.

        The answer must begin within `timeout_s`, and be complete within twice that. Who asks while
        somebody else does gets the same answer.
        """
        if self._collecting is None:
            self._collecting = asyncio.create_task(self._collect(pidfd, timeout_s))
            self._collecting.add_done_callback(self._collected)
        return await asyncio.shield(self._collecting)

    def _collected(self, _: asyncio.Task[str]) -> None:
        self._collecting = None

    async def _collect(self, pidfd: int, timeout_s: float) -> str:
        if not self._open:
            return ""
        self._resize(_MOST_BYTES)
        for _ in range(_STALE_READS):
            if not self._read():
                break
        if not send_signal(pidfd, ReservedSignal.DUMP_STACKS):
            return ""
        text = await self._listen(timeout_s)
        if self._open:
            self._resize(_USUAL_BYTES)
        return text.decode("utf-8", "backslashreplace")

    async def _listen(self, timeout_s: float) -> bytes:
        """What comes until there is a pause; cut at a size and a time that no dump needs."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + 2 * timeout_s
        patience_s = timeout_s
        text = b""
        while len(text) < _MOST_BYTES and await self._wait_readable(patience_s):
            data = self._read()
            if not data or loop.time() > end_s:
                break
            text += data
            patience_s = _QUIET_S
        return text[:_MOST_BYTES]

    async def _wait_readable(self, patience_s: float) -> bool:
        if not self._open:
            return False
        loop = asyncio.get_running_loop()
        self._readable = loop.create_future()
        loop.add_reader(self._reader, self._wake)
        try:
            async with asyncio.timeout(patience_s):
                return await self._readable
        except TimeoutError:
            return False
        finally:
            self._readable = None
            if self._open:
                loop.remove_reader(self._reader)

    def _wake(self, *, readable: bool = True) -> None:
        if self._readable is None:
            return
        if not readable:  # before the descriptor is closed and its number used again
            asyncio.get_running_loop().remove_reader(self._reader)
        if not self._readable.done():
            self._readable.set_result(readable)

    def _read(self) -> bytes:
        if not self._open:
            return b""
        try:
            return os.read(self._reader, _MOST_BYTES)
        except BlockingIOError:
            return b""

    def _resize(self, size_bytes: int) -> None:
        # Refused to a user who has many pipes already (pipe-user-pages-soft): then it stays small.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._reader, fcntl.F_SETPIPE_SZ, size_bytes)
