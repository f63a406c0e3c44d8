"""A stand-in for systemd: the socket that it listens on for news, and how it passes sockets."""

import os
import socket
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

# systemd's own order: the descriptors from 3 on, and LISTEN_PID set in the process itself.
_LAUNCH = """
import os, sys
given, names, pid, words = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
numbers = [int(number) for number in given.split(",")]
high = [os.dup2(number, 100 + index) for index, number in enumerate(numbers)]
for index, number in enumerate(high):
    os.dup2(number, 3 + index, inheritable=True)
for number in {*numbers, *high} - set(range(3, 3 + len(numbers))):
    os.close(number)
os.environ["LISTEN_PID"] = pid or str(os.getpid())
os.environ["LISTEN_FDS"] = str(len(numbers))
if names:
    os.environ["LISTEN_FDNAMES"] = names
os.execv(words[0], words)
"""


def launcher(names: str, sockets: list[socket.socket], *, pid: str = "") -> list[str]:
    """Words before a command that pass it the sockets, `names` (`a:b`) in their order.

    `pid` is another LISTEN_PID than the right one.
    """
    numbers = ",".join(str(sock.fileno()) for sock in sockets)
    return [sys.executable, "-c", _LAUNCH, numbers, names, pid]


class NotifySocket:
    """A bound NOTIFY_SOCKET that keeps every message, as a dict of its lines."""

    def __init__(self, folder: Path | None = None) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if folder is None:
            self.address = f"@pyfpm-test-{os.getpid()}-{id(self)}"
            self._sock.bind("\0" + self.address[1:])
        else:
            self.address = str(folder / "notify")
            self._sock.bind(self.address)
            os.chmod(self.address, 0o666)
        self.messages: list[dict[str, str]] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._sock.close()
        if self.address.startswith("/"):
            os.unlink(self.address)

    def _read(self) -> None:
        while data := self._sock.recv(65536):
            lines = data.decode().split("\n")
            with self._changed:
                self.messages.append(dict(line.split("=", 1) for line in lines))
                self._changed.notify_all()

    def mark(self) -> int:
        """Return the place where the messages end now, for `wait_for(…, since=mark)`."""
        with self._changed:
            return len(self.messages)

    def wait_for(
        self,
        name: str,
        value: str = "",
        *,
        unwanted: str | None = None,
        since: int = 0,
        timeout_s: float = 15,
    ) -> dict[str, str]:
        """Block until a message has the variable, with `value` and without `unwanted` in it."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for message in self.messages[since:]:
                    if name not in message or value not in message[name]:
                        continue
                    if unwanted is None or unwanted not in message[name]:
                        return message
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"no {name}={value} among {self.messages[since:]}"
                self._changed.wait(left_s)
