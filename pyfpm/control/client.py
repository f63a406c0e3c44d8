"""The command line's end of the control socket: blocking, one connection a command."""

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Self

from pyfpm.control.location import guard_private_folder
from pyfpm.control.protocol import (
    MAX_REPLY_BYTES,
    ExitCode,
    Failure,
    JsonObject,
    Progress,
    Reply,
    Request,
    Success,
    decode_reply,
    encode_request,
)
from pyfpm.errors import ControlError, reason_of


class ControlClient:
    """A connection to the master at `path`, made with the first call.

    `timeout_s` bounds the silence before each line of the answer, not the command: the master gives
    signs of life more often. `on_progress` gets the progress messages. Use it in a `with` block or
    call `close`.
    """

    def __init__(
        self,
        path: str,
        *,
        timeout_s: float = 15.0,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._on_progress = on_progress
        self._sock: socket.socket | None = None
        self._pending = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._pending.clear()

    def call(self, command: str, **arguments: object) -> JsonObject:
        """Run a command in the master and return its result.

        Raises ControlError: exit code 69 when no master answers, 77 when it does not let us in,
        else what the master says.
        """
        sock = self._connect()
        try:
            # A master that turned us away has closed already, and why is there to be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(encode_request(Request(command, arguments)))
            while True:
                match self._read_reply(sock):
                    case Progress(message):
                        if message and self._on_progress is not None:
                            self._on_progress(message)
                    case Success(result):
                        return result
                    case Failure(error, exit_code):
                        raise ControlError(error, exit_code)
        except TimeoutError:
            self.close()
            raise ControlError(
                f"the master at {self.path} did not answer within {self._timeout_s:g} s",
                ExitCode.NO_MASTER,
            ) from None
        except OSError as error:
            self.close()
            raise ControlError(
                f"the master at {self.path} went away: {reason_of(error)}",
                ExitCode.NO_MASTER,
            ) from None

    def wait_master_end(self, timeout_s: float | None = None) -> bool:
        """Wait until the process behind the socket is gone; False after `timeout_s`.

        Takes the master's pid from the connection (SO_PEERCRED), so that no pid file is trusted.
        A master in a pid namespace that we cannot see counts as gone when it closes the connection.
        """
        sock = self._connect()
        pid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        poll = select.poll()
        try:
            watched = os.pidfd_open(pid) if pid > 0 else os.dup(sock.fileno())
        except ProcessLookupError:
            return True
        try:
            poll.register(watched, select.POLLIN)
            deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
            while True:
                left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
                if poll.poll(None if left_s is None else left_s * 1000):
                    return True
                if left_s is not None and left_s <= 0:
                    return False
        finally:
            os.close(watched)

    def _connect(self) -> socket.socket:
        if self._sock is not None:
            return self._sock
        guard_private_folder(self.path, os.geteuid())
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _connect_in_turn(sock, self.path, self._timeout_s)
        except BlockingIOError:
            sock.close()
            raise ControlError(
                f"the master at {self.path} is busy: no place at its socket for"
                f" {self._timeout_s:g} s; try again",
                ExitCode.NO_MASTER,
            ) from None
        except OSError as error:
            sock.close()
            raise _connect_error(self.path, error) from None
        sock.settimeout(self._timeout_s)
        self._sock = sock
        return sock

    def _read_reply(self, sock: socket.socket) -> Reply:
        searched = 0
        while (end := self._pending.find(b"\n", searched)) < 0:
            searched = len(self._pending)
            if len(self._pending) > MAX_REPLY_BYTES:
                self.close()
                raise ControlError("control reply: too long", ExitCode.INTERNAL)
            data = sock.recv(65536)
            if not data:
                self.close()
                raise ControlError(
                    f"the master at {self.path} closed the connection without an answer",
                    ExitCode.NO_MASTER,
                )
            self._pending += data
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        if not line.startswith(b"{"):
            self.close()
            raise ControlError(
                f"what answers at {self.path} is no master of pyfpm", ExitCode.NO_MASTER
            )
        return decode_reply(line)


def _connect_in_turn(sock: socket.socket, path: str, timeout_s: float) -> None:
    """Connect, and wait for a place where the backlog is full; BlockingIOError after the timeout.

    A non-blocking connect, which is what Python's own timeout makes, fails at once there, and who
    asks now and then has no luck among those who wait. So the kernel waits, which lets those who
    wait in one after the other (unix_stream_connect, which heeds SO_SNDTIMEO).
    """
    seconds = int(timeout_s)
    limit = struct.pack("ll", seconds, int((timeout_s - seconds) * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    while True:
        sock.connect(path)
        # Interrupted by a signal, Python believes it connected: with TCP it would be under way.
        with contextlib.suppress(OSError):
            sock.getpeername()
            return


def _connect_error(path: str, error: OSError) -> ControlError:
    if isinstance(error, PermissionError):
        return ControlError(f"control socket {path}: permission denied", ExitCode.NOT_PERMITTED)
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
        hint = "start it with `pyfpm start`, or name its configuration with -c"
        return ControlError(f"no master answers at {path}: {hint}", ExitCode.NO_MASTER)
    return ControlError(f"no master answers at {path}: {reason_of(error)}", ExitCode.NO_MASTER)
