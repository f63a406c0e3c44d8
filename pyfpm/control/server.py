"""The master's end of the control socket.

Clients are not trusted with the master's time or memory: a request line must arrive within a
deadline and below a size, a reply must be taken within a deadline, and the number of clients is
bounded. When all places are taken, the client that has hung longest without a command under way
gives way to the newcomer: connections that only hang keep nobody out. A command that is under way
never ends because of its client. Who may do what follows from the peer's uid as the kernel
recorded it at connect (SO_PEERCRED), not from anything the client says.
"""

import asyncio
import enum
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pyfpm.control.call import KEEP_ALIVE_S, Call
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
from pyfpm.control.socket_file import BACKLOG, SocketFile
from pyfpm.errors import ControlError, PyfpmError

logger = logging.getLogger(__name__)

MAX_CLIENTS = 32
# Clients that may only read get at most half of the places: however many connections they hold
# open, the operator still gets in.
MAX_READERS = MAX_CLIENTS // 2
# A client sends its request right after it connected, and nobody is turned out before it had this
# long for it.
GRACE_S = 0.1
# How long a newcomer waits for a place, and how many may. A flood of 100 silent connections passes
# through 32 places in 0.3 s.
PATIENCE_S = 1.0
MAX_NEWCOMERS = 256
_LOOK_FOR_ROOM_S = 0.02


@dataclass(frozen=True, slots=True)
class Command:
    """What the master does for one command name.

    `handler` gets the arguments as the client sent them and must check them (ControlError with
    exit code 64 for a wrong one), and the call, to report progress; it returns the result.
    `changes` is False for commands that only read and may be given to everyone whom the socket's
    mode admits.
    """

    handler: Callable[[JsonObject, Call], Awaitable[JsonObject]]
    changes: bool


class _Phase(enum.Enum):
    WAITING = enum.auto()  # for a request line
    RUNNING = enum.auto()
    ANSWERING = enum.auto()  # until the client has taken the reply


@dataclass(slots=True, eq=False)
class _Client:
    task: asyncio.Task[None]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    may_change: bool
    since_s: float  # when the phase began
    phase: _Phase = _Phase.WAITING
    call: Call | None = None

    def enter(self, phase: _Phase) -> None:
        self.phase = phase
        self.since_s = asyncio.get_running_loop().time()


class ControlServer:
    """Listens at `path` and runs `commands` for those who may.

    `owner` and `group` are names or numbers, None for the master's own. `deadline_s` bounds the
    wait for a client's line and for its taking of a reply, not the command itself; a client that
    waits for a command gets a sign of life every `keep_alive_s`. `inherited` is a socket that
    listens at `path` already: one that this process made before it replaced itself by exec.
    """

    def __init__(
        self,
        path: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        mode: int = 0o600,
        commands: Mapping[str, Command],
        inherited: socket.socket | None = None,
        deadline_s: float = 10.0,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self.path = path
        self._owner = owner
        self._group = group
        self._mode = mode
        self._commands = commands
        self._inherited = inherited
        self._deadline_s = deadline_s
        self._keep_alive_s = keep_alive_s
        self._uid = os.geteuid()
        self._file: SocketFile | None = None
        self._server: asyncio.Server | None = None
        self._quiet = False
        self._clients: dict[asyncio.Task[None], _Client] = {}
        self._newcomers: set[asyncio.Task[None]] = set()

    @property
    def socket_fd(self) -> int:
        """The descriptor of the listening socket, to be passed on across an exec."""
        assert self._file is not None
        return self._file.sock.fileno()

    async def start(self) -> None:
        """Make the socket and answer on it; raises ControlError when that is not possible."""
        if self._inherited is not None:
            self._file = SocketFile.inherit(self.path, self._inherited)
        else:
            prepare_folder(self.path, self._uid)
            self._file = SocketFile.make(
                self.path, owner=self._owner, group=self._group, mode=self._mode
            )
        await self.resume()

    async def quiesce(self, timeout_s: float, *, but: Call | None = None) -> bool:
        """Accept nobody any more, and wait until the commands of all clients but one have ended.

        The socket goes on listening: whoever connects waits in its backlog, for `resume` or for
        the next master. False if a command has not ended within `timeout_s`.
        """
        self._quiet = True
        self._stop_accepting()
        others = [c for c in self._clients.values() if but is None or c.call is not but]
        tasks = [client.task for client in others]
        if not tasks:
            return True
        await asyncio.wait(tasks, timeout=min(GRACE_S, timeout_s))
        for client in others:
            if client.phase is _Phase.WAITING:
                client.task.cancel()
        _, left = await asyncio.wait(tasks, timeout=max(0.0, timeout_s - GRACE_S))
        return not left

    async def resume(self) -> None:
        """Accept clients, at first or again."""
        assert self._file is not None
        self._quiet = False
        # asyncio closes the socket with its server. It gets a duplicate, so that ours survives
        # quiesce and keeps the backlog.
        self._server = await asyncio.start_unix_server(
            self._serve_client, sock=self._file.sock.dup(), limit=MAX_REQUEST_BYTES
        )
        # asyncio has cut it to 100, which is also how many it accepts before others have a turn.
        self._file.sock.listen(BACKLOG)

    def change_access(self, *, owner: str | None, group: str | None, mode: int) -> None:
        """Who may connect from now on, as in the constructor; ControlError where that fails."""
        if self._file is not None:
            self._file.change(owner=owner, group=group, mode=mode)

    async def close(self) -> None:
        """Stop listening, remove the socket file and end every client.

        A handler that is under way is cancelled, except the one that calls this (a `stop`).
        """
        self._stop_accepting()
        if self._file is not None:
            self._file.remove()
        others = [
            task
            for task in (*self._clients, *self._newcomers)
            if task is not asyncio.current_task()
        ]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # -- one client -------------------------------------------------------------------------

    async def _serve_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        if task is None:  # pragma: no cover  # asyncio runs this callback as a task
            raise AssertionError
        uid = _peer_uid(writer)
        now_s = asyncio.get_running_loop().time()
        client = _Client(task, reader, writer, uid in (0, self._uid), now_s)
        try:
            if not await self._wait_room(client):
                busy = Failure("too many clients on the control socket", ExitCode.FAILED)
                await self._send(client, busy)
                return
            await self._serve_requests(client)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            logger.debug("control client of uid %d went away: %r", uid, error)
        finally:
            self._clients.pop(task, None)
            if writer.transport.get_write_buffer_size():
                # A reply that is not taken within the deadline goes with its client.
                writer.transport.abort()
            writer.close()

    async def _wait_room(self, newcomer: _Client) -> bool:
        """Give the newcomer a place among the clients as soon as there is one, or turn it away."""
        deadline_s = newcomer.since_s + PATIENCE_S
        self._newcomers.add(newcomer.task)
        try:
            while not self._make_room(newcomer):
                is_late = asyncio.get_running_loop().time() > deadline_s
                if is_late or self._quiet or len(self._newcomers) > MAX_NEWCOMERS:
                    return False
                await asyncio.sleep(_LOOK_FOR_ROOM_S)
        finally:
            self._newcomers.discard(newcomer.task)
        newcomer.enter(_Phase.WAITING)
        self._clients[newcomer.task] = newcomer
        return True

    def _make_room(self, newcomer: _Client) -> bool:
        """End the client that has hung longest if there is no place left; False if none hangs."""
        readers = [client for client in self._clients.values() if not client.may_change]
        is_full = len(self._clients) >= MAX_CLIENTS
        if not is_full and (newcomer.may_change or len(readers) < MAX_READERS):
            return True
        # A reader never displaces somebody who may do more.
        candidates = self._clients.values() if newcomer.may_change else readers
        hanging = [client for client in candidates if client.phase is not _Phase.RUNNING]
        longest = min(hanging, key=lambda client: client.since_s, default=None)
        if longest is None or longest.since_s + GRACE_S > asyncio.get_running_loop().time():
            return False
        del self._clients[longest.task]
        longest.task.cancel()
        return True

    async def _serve_requests(self, client: _Client) -> None:
        while not self._quiet:
            line = await self._read_line(client)
            if not line:
                return
            try:
                request = decode_request(line)
            except ControlError as error:
                # What cannot be understood may be anything: answer, and end the conversation.
                await self._send(client, Failure(str(error), error.exit_code))
                return
            client.enter(_Phase.RUNNING)
            client.call = Call(client.writer, keep_alive_s=self._keep_alive_s)
            try:
                reply = await self._run(client, client.call, request.command, request.arguments)
            finally:
                client.call.end()
                client.call = None
            await self._send(client, reply)
            client.enter(_Phase.WAITING)

    async def _read_line(self, client: _Client) -> bytes:
        """One request line; empty when the client is done, or has been told what is wrong."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await client.reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            too_long = f"control request: longer than {MAX_REQUEST_BYTES} bytes"
            await self._send(client, Failure(too_long, ExitCode.USAGE))
            return b""
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return b""

    async def _run(self, client: _Client, call: Call, name: str, arguments: JsonObject) -> Reply:
        command = self._commands.get(name)
        if command is None:
            return Failure(f"the master knows no command {name!r}", ExitCode.USAGE)
        if command.changes and not client.may_change:
            return Failure("only root or the master's user may do this", ExitCode.NOT_PERMITTED)
        try:
            return Success(await command.handler(arguments, call))
        except ControlError as error:
            return Failure(str(error), error.exit_code)
        except PyfpmError as error:
            return Failure(str(error))
        # A defect in one command must not end the master; it is logged with its traceback.
        except Exception as error:
            logger.exception("control command %s", name)
            return Failure(f"internal error: {error!r}", ExitCode.INTERNAL)

    async def _send(self, client: _Client, reply: Reply) -> None:
        if client.writer.transport.is_closing():
            raise ConnectionResetError  # it went away, or took no progress, while its command ran
        client.enter(_Phase.ANSWERING)
        client.writer.write(encode_reply(reply))
        async with asyncio.timeout(self._deadline_s):
            await client.writer.drain()


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    """The uid of the process that connected, as it was then (struct ucred: pid, uid, gid)."""
    sock = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("iII", credentials)
    return int(uid)
