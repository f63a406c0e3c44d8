"""The master's end of the control socket.

Clients are not trusted with the master's time or memory: a request line must arrive within a
deadline and below a size, a reply must be taken within a deadline, and the number of clients is
bounded. Who may do what follows from the peer's uid as the kernel recorded it at connect
(SO_PEERCRED), not from anything the client says.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pyfpm.control.location import prepare_folder
from pyfpm.control.protocol import (
    MAX_REQUEST_BYTES,
    ExitCode,
    Failure,
    JsonObject,
    Reply,
    Success,
    decode_request,
    encode_reply,
)
from pyfpm.control.socket_file import SocketFile
from pyfpm.errors import ControlError, PyfpmError

logger = logging.getLogger(__name__)

MAX_CLIENTS = 32
# Clients that may only read get at most half of the places: however many connections they hold
# open, the operator still gets in.
MAX_READERS = MAX_CLIENTS // 2


@dataclass(frozen=True, slots=True)
class Command:
    """What the master does for one command name.

    `handler` gets the arguments as the client sent them and must check them (ControlError with
    exit code 64 for a wrong one); it returns the result. `changes` is False for commands that
    only read and may be given to everyone whom the socket's mode admits.
    """

    handler: Callable[[JsonObject], Awaitable[JsonObject]]
    changes: bool


class ControlServer:
    """Listens at `path` and runs `commands` for those who may.

    `owner` and `group` are names or numbers, None for the master's own. `deadline_s` bounds the
    wait for a client's line and for its taking of a reply, not the command itself.
    """

    def __init__(
        self,
        path: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        mode: int = 0o600,
        commands: Mapping[str, Command],
        deadline_s: float = 10.0,
    ) -> None:
        self._path = path
        self._owner = owner
        self._group = group
        self._mode = mode
        self._commands = commands
        self._deadline_s = deadline_s
        self._uid = os.geteuid()
        self._file: SocketFile | None = None
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], bool] = {}  # task → may it change things

    async def start(self) -> None:
        """Make the socket and answer on it; raises ControlError when that is not possible."""
        prepare_folder(self._path, self._uid)
        self._file = SocketFile(self._path, owner=self._owner, group=self._group, mode=self._mode)
        self._server = await asyncio.start_unix_server(
            self._serve_client, sock=self._file.sock, limit=MAX_REQUEST_BYTES
        )

    async def close(self) -> None:
        """Stop listening, remove the socket file and end every client.

        A handler that is under way is cancelled, except the one that calls this (a `stop`).
        """
        if self._server is not None:
            self._server.close()
        if self._file is not None:
            self._file.remove()
        others = [task for task in self._clients if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover  # asyncio runs this callback as a task
            raise AssertionError
        uid = _peer_uid(writer)
        may_change = uid in (0, self._uid)
        try:
            if self._is_full(may_change=may_change):
                busy = Failure("too many clients on the control socket", ExitCode.FAILED)
                await self._send(writer, busy)
                return
            self._clients[task] = may_change
            await self._serve_requests(reader, writer, may_change=may_change)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            logger.debug("control client of uid %d went away: %r", uid, error)
        finally:
            self._clients.pop(task, None)
            if writer.transport.get_write_buffer_size():
                # A reply that is not taken within the deadline goes with its client.
                writer.transport.abort()
            writer.close()

    def _is_full(self, *, may_change: bool) -> bool:
        if len(self._clients) >= MAX_CLIENTS:
            return True
        return not may_change and list(self._clients.values()).count(False) >= MAX_READERS

    async def _serve_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_change: bool
    ) -> None:
        while True:
            async with asyncio.timeout(self._deadline_s):
                try:
                    line = await reader.readuntil(b"\n")
                except asyncio.LimitOverrunError:
                    too_long = Failure(
                        f"control request: longer than {MAX_REQUEST_BYTES} bytes", ExitCode.USAGE
                    )
                    await self._send(writer, too_long)
                    return
                except asyncio.IncompleteReadError as error:
                    if not error.partial:
                        return  # the client is done
                    raise
            try:
                request = decode_request(line)
            except ControlError as error:
                # What cannot be understood may be anything: answer, and end the conversation.
                await self._send(writer, Failure(str(error), error.exit_code))
                return
            reply = await self._run(request.command, request.arguments, may_change=may_change)
            await self._send(writer, reply)

    async def _run(self, name: str, arguments: JsonObject, *, may_change: bool) -> Reply:
        command = self._commands.get(name)
        if command is None:
            return Failure(f"the master knows no command {name!r}", ExitCode.USAGE)
        if command.changes and not may_change:
            return Failure(
                f"{name}: only root or the master's user may do this", ExitCode.NOT_PERMITTED
            )
        try:
            return Success(await command.handler(arguments))
        except ControlError as error:
            return Failure(str(error), error.exit_code)
        except PyfpmError as error:
            return Failure(str(error))
        # A defect in one command must not end the master; it is logged with its traceback.
        except Exception as error:
            logger.exception("control command %s", name)
            return Failure(f"internal error: {error!r}", ExitCode.INTERNAL)

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        writer.write(encode_reply(reply))
        async with asyncio.timeout(self._deadline_s):
            await writer.drain()


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    """The uid of the process that connected, as it was then (struct ucred: pid, uid, gid)."""
    sock = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("iII", credentials)
    return int(uid)
