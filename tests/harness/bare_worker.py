"""One worker without a master: the test itself sits at the other end of its control socket."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from harness.boot_documents import LIMITS, make_boot_document
from harness.fcgi_client import FcgiClient
from harness.log_reader import LogReader
from harness.machine import copy_examples, temporary_folder, wait_until
from harness.master import environment

from pyfpm.kernel.memfd import create_sealed, map_shared
from pyfpm.messages import (
    MAX_MESSAGE_BYTES,
    BootDocument,
    InheritedDescriptor,
    ListenerPlan,
    LogLine,
    Message,
    Ready,
    Refused,
    decode_message,
    encode_message,
)
from pyfpm.scoreboard import NOTICE_BYTES, SLOT_BYTES, Board, NoticeWriter, SlotCopy, Stage

M = TypeVar("M", bound=Message)

# Puts the descriptors where a zygote leaves them, then is the worker.
_SCRIPT = """
import json, os, socket, sys
given, document = json.loads(sys.argv[1]), sys.argv[2]
moved = {int(number): os.dup(fd) for number, fd in given.items()}
high = {number: os.dup2(fd, 100 + number, inheritable=False) for number, fd in moved.items()}
os.closerange(3, 100)
for number, fd in high.items():
    os.dup2(fd, number, inheritable=False)
os.closerange(100, 200)
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(line_buffering=True)
from pyfpm.messages import Spawn
from pyfpm.messages.boot import decode_boot_document
from pyfpm.runtime.shared import SharedMemory
from pyfpm.runtime.worker import run_worker
control = socket.socket(fileno=3)
boot = decode_boot_document(document.encode())
run_worker(boot, Spawn(1, 0), control, 20, None, SharedMemory(boot.slots))
"""
_STACKS = 20


class BareWorker:
    """A worker of `app` (module:callable in `files` or the examples) until the block ends.

    `limits` are fields of RequestLimits that differ from the defaults, `document` the same of the
    boot document. The hand-off channel's other end is `channel`; what the worker writes to its
    stack pipe comes out of `stacks`.
    """

    def __init__(
        self,
        app: str = "torture:app",
        *,
        files: dict[str, str] | None = None,
        document: dict[str, Any] | None = None,
        wait_ready: bool = True,
        **limits: Any,
    ) -> None:
        self._app, self._files, self._wait_ready = app, files or {}, wait_ready
        self._document = document or {}
        self._limits = replace(LIMITS, **limits)
        self._stack = ExitStack()
        self.messages: list[Message] = []
        self.log: LogReader

    def __enter__(self) -> Self:
        try:
            self.folder = self._stack.enter_context(temporary_folder())
            app = copy_examples(self.folder)
            for name, content in self._files.items():
                (app / name).write_text(content)
            self._start(app)
            if self._wait_ready:
                self.expect(Ready)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, app: Path) -> None:
        stack = self._stack
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self._sender, self.channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / "worker.sock"))
        listener.listen(100)
        self.listener = listener
        board_fd = create_sealed("test-board", 4 * SLOT_BYTES)
        notice_fd = create_sealed("test-notice", NOTICE_BYTES)
        self.board = Board(map_shared(board_fd, 4 * SLOT_BYTES, writable=True))
        notice = map_shared(notice_fd, NOTICE_BYTES, writable=True)
        self._notice = NoticeWriter(notice)
        self.publish_slots(1)
        self.stacks, stacks = os.pipe()
        given = {
            InheritedDescriptor.CONTROL: theirs.fileno(),
            InheritedDescriptor.BOARD: board_fd,
            InheritedDescriptor.NOTICE: notice_fd,
            InheritedDescriptor.CHANNEL_SEND: self._sender.fileno(),
            InheritedDescriptor.CHANNEL_RECEIVE: self.channel.fileno(),
            InheritedDescriptor.LISTENERS: listener.fileno(),
            _STACKS: stacks,
        }
        document = json.dumps(asdict(self._make_document(app)))
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _SCRIPT,
                json.dumps({int(n): fd for n, fd in given.items()}),
                document,
            ],
            pass_fds=tuple(given.values()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert self.process.stderr is not None
        self.log = LogReader(self.process.stderr)
        stack.callback(self.log.show, "log of the worker")
        stack.callback(self._end)
        theirs.close()
        for fd in (board_fd, notice_fd, stacks):
            os.close(fd)

    def _make_document(self, app: Path) -> BootDocument:
        module, _, attribute = self._app.partition(":")
        listener = ListenerPlan(InheritedDescriptor.LISTENERS, "unix", False, ())
        return make_boot_document(
            app,
            module,
            attribute,
            pool="bare",
            master_pid=os.getpid(),
            slots=4,
            max_children=4,
            listeners=(listener,),
            limits=self._limits,
            minder=True,
            **self._document,
        )

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for sock in (self.control, self._sender, self.channel, self.listener):
            sock.close()
        os.close(self.stacks)
        self.log.wait_for_end()

    # Talking to it

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return f"unix:{self.folder / 'worker.sock'}"

    def client(self) -> FcgiClient:
        return FcgiClient(self.address)

    def tell(self, message: Message) -> None:
        """Give an order as the master would."""
        self.control.send(encode_message(message))

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def publish_slots(self, count: int) -> None:
        """Say how many slots of the board are in use."""
        self._notice.publish(slots_in_use=count)

    def slot(self) -> SlotCopy:
        return self.board.read(0)

    def wait_running(self, after_s: float = 0.0) -> float:
        """Wait until a request runs that began after `after_s`; return when it began."""

        def look() -> float | None:
            slot = self.slot()
            runs = slot.stage is Stage.RUNNING and slot.request_started_s > after_s
            return slot.request_started_s if runs else None

        return wait_until(look, interval_s=0.002) or 0.0

    def read_messages(self, timeout_s: float = 0) -> list[Message]:
        """Take what it has said; all of it is in `messages`."""
        fresh: list[Message] = []
        while select.select([self.control], [], [], timeout_s)[0]:
            data = self.control.recv(MAX_MESSAGE_BYTES)
            if not data:
                break
            fresh.append(decode_message(data))
            timeout_s = 0
        self.messages += fresh
        return fresh

    def said(self, kind: type[M]) -> list[M]:
        """Return everything of this kind that it has said."""
        self.read_messages()
        return [message for message in self.messages if isinstance(message, kind)]

    def expect(self, kind: type[M], timeout_s: float = 10) -> M:
        """Wait for the first message of this kind."""
        deadline = time.monotonic() + timeout_s
        while not (found := self.said(kind)):
            left = deadline - time.monotonic()
            log = self.log.text()
            assert left > 0, f"no {kind.__name__}, only {self.messages}\n{log}"
            assert self.process.poll() is None, f"it ended, having said {self.messages}\n{log}"
            self.read_messages(min(left, 0.2))
        return found[0]

    def complaints(self) -> list[str]:
        """Return the lines that it has for the master's log."""
        lines = [line.message for line in self.said(LogLine)]
        return lines + [refused.text for refused in self.said(Refused)]

    def wait_for_end(self, timeout_s: float = 10) -> int:
        """Wait until it has left, and return its exit code."""
        code = self.process.wait(timeout_s)
        self.read_messages()
        return code

    def offer(self, connection: socket.socket) -> None:
        """Put a connection into the hand-off channel, as another worker would."""
        socket.send_fds(self._sender, [b"c"], [connection.fileno()])

    def take_handed_off(self) -> list[socket.socket]:
        """Take every connection that waits in the hand-off channel."""
        taken: list[socket.socket] = []
        while True:
            try:
                _, fds, _, _ = socket.recv_fds(self.channel, 16, 1)
            except BlockingIOError:
                return taken
            taken += [socket.socket(fileno=fd) for fd in fds]

    def read_stacks(self, timeout_s: float = 10) -> str:
        """Wait for a dump of stacks, up to the outermost frame of the main thread."""
        text = ""
        while "in <module>" not in text:
            ready, _, _ = select.select([self.stacks], [], [], timeout_s)
            assert ready, f"no whole dump: {text!r}"
            data = os.read(self.stacks, 65536)
            assert data, f"it ended with {self.process.wait(5)} after {text!r}"
            text += data.decode()
        return text

    def stop_reading(self) -> None:
        """Hang up as a master that died."""
        self.control.close()

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)
