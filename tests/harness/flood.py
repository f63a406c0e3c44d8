"""Clients that want to use up a pool: thousands of connections that send hardly anything.

`Flood` is the handle; the clients are a process of their own, which this module also is. Orders
come as lines on its stdin, `count` or `stop`, and are answered with one line of JSON.
"""

import argparse
import contextlib
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.fcgi_client import make_params
from harness.machine import wait_until

from pyfpm.fastcgi import encode_begin, encode_pairs, encode_params, encode_request
from pyfpm.fastcgi.records import HEADER

TESTS = Path(__file__).resolve().parents[1]
_TURN_S = 0.01
_TRICKLE_S = 1.0
_GET = encode_request(1, make_params("/pid"))
_PARAMS = encode_pairs(make_params("/pid"))
_SLOW_BODY = make_params("/echo", method="POST", params={"CONTENT_LENGTH": "1000"})

# What a client of each kind sends at once, and then a byte of each second.
KINDS = {
    "silent": (b"", b""),
    "half-begin": (encode_begin(1)[:5], b""),
    "half-params": (
        encode_begin(1) + HEADER.pack(1, 4, 1, len(_PARAMS), 0) + _PARAMS[: len(_PARAMS) // 2],
        b"",
    ),
    "slow-head": (b"", _GET),
    "slow-body": (
        encode_begin(1) + encode_params(1, _SLOW_BODY) + HEADER.pack(1, 5, 1, 1000, 0),
        b"x" * 1000,
    ),
}


class Flood:
    """So many clients of each kind (underscores for the dashes) until the block ends.

    With `again`, a client whose connection was closed comes back, at most so many in a second.
    """

    def __init__(self, address: str, *, again: float = 0, **clients: int) -> None:
        self._words = [f"--{kind.replace('_', '-')}={count}" for kind, count in clients.items()]
        self._words += [f"--address={address}", f"--again={again}"]
        self.size = sum(clients.values())
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.flood", *self._words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def counts(self) -> dict[str, int]:
        """How many are connected now, and how many were opened and closed so far, by `kind`."""
        return self._ask("count")

    def wait_opened(self, timeout_s: float = 60) -> None:
        """Until every client has been connected once."""
        wait_until(lambda: self.counts()["opened"] >= self.size, timeout_s, interval_s=0.1)

    def wait_closed(self, timeout_s: float) -> None:
        """Until the other side has closed all of them."""
        wait_until(lambda: self.counts()["open"] == 0, timeout_s, interval_s=0.1)

    def _ask(self, order: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        assert ready, "the flood said nothing within 30 s"
        return json.loads(self.process.stdout.readline())


class Client:
    """One of them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.link: socket.socket | None = None
        self.trickle = b""


class Clients:
    """All of them, in one epoll."""

    def __init__(self, address: str, counts: dict[str, int], again: float) -> None:
        self._family, self._target = parse_address(address)
        self._again = again
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        self._open: dict[int, Client] = {}
        self._slow: list[Client] = []
        # One kind after the other, in turn: as if they came from many places.
        kinds = sorted((n / count, kind) for kind, count in counts.items() for n in range(count))
        self._missing = deque(Client(kind) for _, kind in kinds)
        self._gone: deque[Client] = deque()
        self._opened = self._closed = 0
        self._allowance = 0.0
        self._next_trickle_s = time.monotonic() + _TRICKLE_S

    def run(self) -> None:
        """Until told to stop, or alone."""
        before = time.monotonic()
        while True:
            for fd, _ in self._epoll.poll(_TURN_S):
                if fd == 0:
                    if not self._obey(sys.stdin.readline().strip()):
                        return
                elif fd in self._open:
                    self._hear(fd)
            now = time.monotonic()
            self._allowance = min(self._again, self._allowance + (now - before) * self._again)
            before = now
            while self._gone and self._allowance >= 1:
                self._allowance -= 1
                self._missing.append(self._gone.popleft())
            self._connect_missing()
            if now >= self._next_trickle_s:
                self._next_trickle_s = now + _TRICKLE_S
                self._send_trickle()

    def _obey(self, order: str) -> bool:
        if order != "count":
            return False
        told = {"open": len(self._open), "opened": self._opened, "closed": self._closed}
        print(json.dumps(told), flush=True)
        return True

    def _connect_missing(self) -> None:
        for _ in range(200):
            if not self._missing or not self._connect(self._missing[0]):
                return
            self._missing.popleft()

    def _connect(self, client: Client) -> bool:
        link = socket.socket(self._family)
        link.setblocking(False)
        try:
            # A TCP connection goes on by itself; a Unix socket whose backlog is full says EAGAIN.
            with contextlib.suppress(BlockingIOError if self._family == socket.AF_INET else ()):
                link.connect(self._target)
        except (BlockingIOError, ConnectionError):
            link.close()
            return False
        opening, client.trickle = KINDS[client.kind]
        if self._family == socket.AF_INET:
            link.setblocking(True)
            link.settimeout(5)
        with contextlib.suppress(OSError):
            link.sendall(opening or b"")
        link.setblocking(False)
        client.link = link
        self._open[link.fileno()] = client
        self._epoll.register(link.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        self._opened += 1
        if client.trickle:
            self._slow.append(client)
        return True

    def _hear(self, fd: int) -> None:
        """Whatever comes is of no interest but its end."""
        client = self._open[fd]
        assert client.link is not None
        try:
            if client.link.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        del self._open[fd]
        client.link.close()
        client.link = None
        self._closed += 1
        if self._again:
            self._gone.append(Client(client.kind))

    def _send_trickle(self) -> None:
        self._slow = [client for client in self._slow if client.link is not None]
        for client in self._slow:
            assert client.link is not None
            with contextlib.suppress(OSError):
                client.link.send(client.trickle[:1])
                client.trickle = client.trickle[1:]


def parse_address(address: str) -> tuple[int, object]:
    """What `socket` and `connect` want for `unix:/path` or `host:port`."""
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    return socket.AF_INET, (host, int(port))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--again", type=float, default=0)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0)
    words = vars(parser.parse_args())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counts = {kind: words[kind.replace("-", "_")] for kind in KINDS}
    Clients(words["address"], counts, words["again"]).run()


if __name__ == "__main__":
    main()
