"""One command under way: what its handler can tell the client that waits for it.

The client may hang, read nothing or go away, and none of that may stop or slow the command. So
nothing here waits for the client: a line that the kernel does not take at once is kept, up to a
limit, and a client beyond the limit is dropped while its command goes on.

For an upgrade the master replaces itself by exec in the middle of a command. A descriptor of the
client's connection survives that (`Call.detach`), and the new master goes on answering on it
(`resume_call`).
"""

import asyncio
import socket
from typing import Any

from pyfpm.control.protocol import Failure, JsonObject, Progress, Reply, Success, encode_reply

# A third of the client's patience: two signs of life may be late before it gives up.
KEEP_ALIVE_S = 5.0
# Some thousand progress messages, and far more than a client that reads leaves lying.
MAX_UNSENT_BYTES = 256 * 1024
# How long a last line may wait for a client to take it.
LINGER_S = 10.0


class Call:
    """The client's end of one command, for the handler that runs it; used inside the event loop.

    `keep_alive_s` is the pause between signs of life.
    """

    def __init__(self, writer: asyncio.StreamWriter, *, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        self._writer = writer
        self._keep_alive_s = keep_alive_s
        self._timer: asyncio.TimerHandle | None = None
        self._muted = False
        self._beat_later()

    def progress(self, message: str) -> None:
        """Tell the client how far the command is; never blocks, and never fails."""
        if message:
            self._put(Progress(message))

    async def detach(self, timeout_s: float = 1.0) -> socket.socket | None:
        """Return a duplicate of the client's socket, at the end of a line, to be kept across exec.

        Nothing is sent through this call any more, unless its handler ends after all (the exec
        failed): then the client gets that result as usual. The duplicate is not inheritable yet.
        None if the client is gone, or does not take within `timeout_s` what it was sent.
        """
        self.end()
        transport = self._writer.transport
        transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
        except (OSError, TimeoutError):
            return None
        if transport.is_closing():
            return None
        shared: Any = self._writer.get_extra_info("socket")
        duplicate: socket.socket = shared.dup()
        return duplicate

    def end(self) -> None:
        """The handler is done: no more progress and signs of life."""
        self._muted = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _put(self, reply: Reply) -> None:
        transport = self._writer.transport
        if self._muted or transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            transport.abort()
            return
        self._writer.write(encode_reply(reply))

    def _beat(self) -> None:
        self._put(Progress(""))
        self._beat_later()

    def _beat_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._keep_alive_s, self._beat)


class ResumedCall(Call):
    """A call of the master before the exec; `succeed` or `fail` ends it and the connection."""

    def succeed(self, result: JsonObject) -> None:
        """Answer with the result of the command."""
        self._answer(Success(result))

    def fail(self, error: str, exit_code: int = 1) -> None:
        """Answer that the command failed; `exit_code` is for the command line."""
        self._answer(Failure(error, exit_code))

    def _answer(self, reply: Reply) -> None:
        self._put(reply)
        self.end()
        # Closing sends what is left first; a client that does not take it is dropped in the end.
        self._writer.close()
        asyncio.get_running_loop().call_later(LINGER_S, self._writer.transport.abort)


async def resume_call(sock: socket.socket, *, keep_alive_s: float = KEEP_ALIVE_S) -> ResumedCall:
    """Go on answering on a socket that `Call.detach` gave and that came through an exec.

    The call owns the socket from now on. A client that has gone meanwhile is no error.
    """
    _, writer = await asyncio.open_unix_connection(sock=sock)
    return ResumedCall(writer, keep_alive_s=keep_alive_s)
