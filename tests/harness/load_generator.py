"""The process that loads a web server and judges every single response.

Theory of operation. Some HTTP connections, each with at most one request under way, in one epoll.
A request is born with a number, and with it come the bytes that must be answered (`echo_app`). It
ends in exactly one of these ways, and each is counted:

    ok        status 200 and the very bytes
    status    another status
    body      status 200 and other bytes
    broken    the connection ended before the response did
    timeout   no end of the response within the time
    connect   the connection could not be made

A server may close a kept connection between two requests, and only then; the connection is made
again, and that is no failure. The web server must be configured so that it does not do so on its
own account (see `load.site`), since nobody could tell a close from a loss when both cross.

Orders come as lines on stdin: `connections N` (how many take part; the others finish what they
have), `count` (answered at once with the counts), `stop` (finish everything, print the result and
end). Answers are JSON, one object a line, on stdout.
"""

import argparse
import heapq
import json
import os
import random
import re
import select
import socket
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field

from harness.echo_app import answer, fill

OK = "ok"
MOST_FAILURES_TOLD = 1000
LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nConnection: *close", re.IGNORECASE)


@dataclass
class Exchange:
    """One request and what must come back."""

    method: str
    uri: str
    data: bytes
    expected: bytes
    started_s: float = field(default_factory=time.monotonic)


class Mix:
    """Draws requests: GET and POST, short and long, quick and slow ones."""

    def __init__(self, seed: int, largest: int) -> None:
        self._dice = random.Random(seed)
        self._largest = largest
        self._number = 0

    def draw(self) -> Exchange:
        """Return the next request."""
        dice = self._dice
        self._number = number = self._number + 1
        method = "POST" if dice.random() < 0.5 else "GET"
        length = self._draw_size((0, 200, 8_000, 60_000, 200_000)) if method == "POST" else 0
        size = self._draw_size((0, 200, 8_000, 60_000, 200_000))
        pause_ms = dice.randrange(1, 40) if dice.random() < 0.03 else 0
        uri = f"/echo?n={number}&size={size}&ms={pause_ms}"
        body = fill(number, length)
        head = f"{method} {uri} HTTP/1.1\r\nHost: localhost\r\n"
        if method == "POST":
            head += f"Content-Length: {length}\r\nContent-Type: application/octet-stream\r\n"
        data = head.encode() + b"\r\n" + body
        return Exchange(method, uri, data, answer(method, number, size, body))

    def _draw_size(self, steps: tuple[int, ...]) -> int:
        """Return a size up to one of the steps: most are small, one in thirty is the largest."""
        step = self._dice.choices(steps, (20, 50, 20, 7, 3))[0]
        return min(self._dice.randint(0, step), self._largest)


class Connection:
    """One client of the web server; `exchange` is the request under way."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.link: socket.socket | None = None
        self.exchange: Exchange | None = None
        self.unsent = memoryview(b"")
        self.received = bytearray()
        self.total = 0  # bytes of the whole response, once its head has come

    def begin(self, exchange: Exchange) -> None:
        """Take a request; what is sent of it now and later is the generator's matter."""
        self.exchange = exchange
        self.unsent = memoryview(exchange.data)
        self.received.clear()
        self.total = 0

    def is_answered(self) -> bool:
        """Tell whether the response is complete."""
        if not self.total:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return False
            length = LENGTH.search(self.received, 0, end + 2)
            # Without a length nothing tells a whole response from half a one: none is expected.
            self.total = end + 4 + (int(length[1]) if length else 0)
        return len(self.received) >= self.total

    def judge(self) -> tuple[str, int, str]:
        """Return how the answered request ended, its status and what is wrong with it."""
        assert self.exchange is not None
        status = int(self.received[9:12])
        if status != 200:
            return "status", status, ""
        body = bytes(self.received[self.received.index(b"\r\n\r\n") + 4 :])
        if body == self.exchange.expected:
            return OK, status, ""
        expected = self.exchange.expected
        pairs = zip(body, expected, strict=False)
        place = next((at for at, (one, other) in enumerate(pairs) if one != other), -1)
        what = f"{len(body)} bytes for {len(expected)}, first difference at {place}: {body[:60]!r}"
        return "body", status, what


class Generator:
    """All connections, their clock and their counts."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._port = options.port
        self._timeout_s = options.timeout
        self._pace_s = 1 / options.rate if options.rate else 0.0
        self._mix = Mix(options.seed, options.largest)
        self._connections = [Connection(number) for number in range(options.connections)]
        self._active = options.connections
        self._stopping = False
        self._poll = select.epoll()
        self._poll.register(0, select.EPOLLIN)
        self._by_descriptor: dict[int, Connection] = {}
        self._due = [(0.0, number) for number in range(options.connections)]
        self._waiting: set[int] = set()  # those that were told to pause
        self._orders = b""
        self.counts: Counter[str] = Counter()
        self.failures: list[dict[str, object]] = []
        self.latencies_s = array("d")

    def run(self) -> None:
        """Load until told to stop and the last request has ended."""
        started_s = time.monotonic()
        next_sweep_s = started_s
        while not self._stopping or any(one.exchange for one in self._connections):
            now_s = time.monotonic()
            if now_s >= next_sweep_s:
                self._expire(now_s)
                next_sweep_s = now_s + 0.2
            self._begin_due(now_s)
            until_due_s = self._due[0][0] - now_s if self._due else 0.2
            for descriptor, _ in self._poll.poll(min(max(until_due_s, 0.0), 0.2)):
                if descriptor == 0:
                    self._read_orders()
                elif connection := self._by_descriptor.get(descriptor):
                    self._advance(connection)
        tell({**self._summary(), "duration_s": time.monotonic() - started_s, **self._details()})

    # Requests

    def _begin_due(self, now_s: float) -> None:
        while self._due and self._due[0][0] <= now_s:
            _, number = heapq.heappop(self._due)
            if self._stopping:
                continue
            if number >= self._active:
                self._waiting.add(number)
                continue
            self._begin(self._connections[number])

    def _begin(self, connection: Connection) -> None:
        connection.begin(self._mix.draw())
        if connection.link is None:
            try:
                link = socket.create_connection(("127.0.0.1", self._port), 5)
            except OSError as error:
                self._end(connection, "connect", 0, str(error))
                return
            link.setblocking(False)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.link = link
            self._by_descriptor[link.fileno()] = connection
            # Edge-triggered: one registration serves for both directions, without one more call
            # for each request that does not fit into the socket's buffer.
            events = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
            self._poll.register(link, events)
        self._send(connection)

    def _advance(self, connection: Connection) -> None:
        if connection.unsent:
            self._send(connection)
        self._receive(connection)

    def _send(self, connection: Connection) -> None:
        assert connection.link is not None
        try:
            while connection.unsent:
                sent = connection.link.send(connection.unsent)
                connection.unsent = connection.unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:
            connection.unsent = memoryview(b"")  # what ended it is seen where it is read

    def _receive(self, connection: Connection) -> None:
        assert connection.link is not None
        reason = "closed"
        while True:
            try:
                data = connection.link.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError as error:
                data, reason = b"", str(error)
            if not data:
                self._lost(connection, reason)
                return
            connection.received += data
        if connection.exchange and connection.is_answered():
            kind, status, what = connection.judge()
            length_known = LENGTH.search(connection.received, 0, connection.total)
            if not length_known or CLOSE.search(connection.received, 0, connection.total):
                self._close(connection)
            self._end(connection, kind, status, what)

    def _lost(self, connection: Connection, reason: str) -> None:
        """The connection has ended; that is a failure only where a request was under way."""
        self._close(connection)
        if connection.exchange is None:
            return
        if connection.received and connection.is_answered():
            self._end(connection, *connection.judge())
            return
        status = int(connection.received[9:12] or 0)
        what = f"{reason} after {len(connection.received)} of {connection.total} bytes"
        self._end(connection, "broken", status, what)

    def _close(self, connection: Connection) -> None:
        if connection.link is not None:
            del self._by_descriptor[connection.link.fileno()]
            connection.link.close()
            connection.link = None

    def _end(self, connection: Connection, kind: str, status: int, what: str) -> None:
        exchange, connection.exchange = connection.exchange, None
        assert exchange is not None
        now_s = time.monotonic()
        self.counts[kind] += 1
        self.latencies_s.append(now_s - exchange.started_s)
        if kind != OK:
            self._note_failure(kind, exchange, status, what, now_s - exchange.started_s)
        # The pace is of all connections together: each begins one request in its share of time.
        pause_s = self._pace_s * self._active
        due_s = max(now_s, exchange.started_s + pause_s)
        if kind == "connect":
            due_s = max(due_s, now_s + 0.05)  # nobody listens: no need to count that by thousands
        heapq.heappush(self._due, (due_s, connection.number))

    def _note_failure(
        self, kind: str, exchange: Exchange, status: int, what: str, after_s: float
    ) -> None:
        if len(self.failures) >= MOST_FAILURES_TOLD:
            return
        self.failures.append(
            {
                "time_s": time.time(),
                "kind": kind,
                "method": exchange.method,
                "uri": exchange.uri,
                "sent_bytes": len(exchange.data),
                "status": status,
                "after_s": round(after_s, 4),
                "what": what,
            }
        )

    def _expire(self, now_s: float) -> None:
        for connection in self._connections:
            exchange = connection.exchange
            if exchange and now_s - exchange.started_s > self._timeout_s:
                self._close(connection)
                self._end(connection, "timeout", 0, f"{len(connection.received)} bytes came")

    # Orders

    def _read_orders(self) -> None:
        data = os.read(0, 4096)
        if not data:
            raise SystemExit("the test has ended without stopping its load")
        self._orders += data
        *lines, self._orders = self._orders.split(b"\n")
        for line in lines:
            match line.decode().split():
                case ["connections", count]:
                    self._take_part(int(count))
                case ["count"]:
                    tell(self._summary())
                case ["stop"]:
                    self._stopping = True

    def _take_part(self, count: int) -> None:
        self._active = min(count, len(self._connections))
        for number in {number for number in self._waiting if number < self._active}:
            self._waiting.remove(number)
            heapq.heappush(self._due, (0.0, number))

    # What is told

    def _summary(self) -> dict[str, object]:
        under_way = sum(one.exchange is not None for one in self._connections)
        return {"counts": dict(self.counts), "under_way": under_way}

    def _details(self) -> dict[str, object]:
        ordered = sorted(self.latencies_s) or [0.0]
        last = len(ordered) - 1
        return {
            "failures": self.failures,
            "p50_s": ordered[last // 2],
            "p99_s": ordered[last * 99 // 100],
            "max_s": ordered[last],
        }


def tell(what: dict[str, object]) -> None:
    """Write one line for the test."""
    print(json.dumps(what), flush=True)


def parse_options() -> argparse.Namespace:
    """Read the command line; `harness.load` writes it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("--largest", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    Generator(parse_options()).run()
