"""The load generator sees what it is there to see."""

import asyncio
import os
import re
import signal
import threading
from typing import Self

import pytest
from harness.echo_app import answer
from harness.load import Load
from harness.machine import wait_until
from scenario import pool, roll, served

REQUEST = re.compile(rb"(GET|POST) /echo\?n=(\d+)&size=(\d+)&ms=\d+ HTTP/1.1\r\n")
LENGTH = re.compile(rb"Content-Length: (\d+)")
EVERY = 100


class FaultyServer:
    """An HTTP server that does one wrong thing with every hundredth request."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._served = 0
        self.faults = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        started = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(started)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            self._loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve_one(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, number, size = REQUEST.match(head).groups()
        length = LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        content = answer(method.decode(), int(number), int(size), body)
        self._served += 1
        is_fault = self._served % EVERY == 0
        self.faults += is_fault
        return self._respond(writer, content, self._fault if is_fault else "")

    def _respond(self, writer: asyncio.StreamWriter, content: bytes, fault: str) -> bool:
        status = "502 Bad Gateway" if fault == "status" else "200 OK"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n".encode()
        match fault:
            case "drop":
                return False
            case "silence":
                return True
            case "truncate":
                writer.write(head + b"\r\n" + content[:-1])
                return False
            case "mix up":
                writer.write(head + b"\r\n" + content.replace(b" ", b"_", 1))
            case "close after":
                writer.write(head + b"Connection: close\r\n\r\n" + content)
                return False
            case "close silently":  # between two requests, which is a server's good right
                writer.write(head + b"\r\n" + content)
                return False
            case _:
                writer.write(head + b"\r\n" + content)
        return True


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("drop", "broken"),
        ("truncate", "broken"),
        ("mix up", "body"),
        ("status", "status"),
        ("silence", "timeout"),
    ],
)
def test_every_faulty_response_is_counted_as_what_it_is(fault, kind):
    """As many failures as faults, each told with its request; all the others are well."""
    with (
        FaultyServer(fault) as server,
        Load(server.port, seed=3, connections=4, rate=1000, timeout_s=1) as load,
    ):
        load.wait_for(500)
        result = load.stop()
    assert server.faults >= 4
    assert result.counts == {"ok": result.requests - server.faults, kind: server.faults}
    assert len(result.failures) == server.faults == result.failed
    for failure in result.failures:
        assert failure.kind == kind
        assert re.search(r" (GET|POST) /echo\?n=\d+", str(failure))


def test_connection_closed_after_an_announcement_is_no_failure():
    """`Connection: close` is an orderly end; the next request takes another connection."""
    with FaultyServer("close after") as server, Load(server.port, seed=3, connections=4) as load:
        load.wait_for(500)
        result = load.stop()
    assert server.faults >= 4
    assert result.failed == 0


def test_connection_closed_between_two_requests_is_no_failure():
    """At a pace that leaves time between them."""
    with (
        FaultyServer("close silently") as server,
        Load(server.port, seed=3, connections=2, rate=200) as load,
    ):
        load.wait_for(250)
        result = load.stop()
    assert server.faults >= 2
    assert result.failed == 0


def test_server_that_is_not_there_is_counted():
    """Every attempt to connect is a request that failed."""
    with FaultyServer("") as server:
        port = server.port
    with Load(port, seed=3, connections=2) as load:
        load.wait_for(10)
        result = load.stop()
    assert set(result.counts) == {"connect"}


def test_connections_that_are_told_to_pause_do():
    """And they come back; nothing is lost either way."""
    with FaultyServer("") as server, Load(server.port, seed=3, connections=4) as load:
        load.wait_for(50)
        load.connections(0)
        before = wait_until_still(load)
        load.connections(4)
        wait_until(lambda: load.done() > before + 50)
        assert load.stop().failed == 0


def wait_until_still(load: Load) -> int:
    """Wait until two counts in a row are the same and return it."""
    last = -1
    while (now := load.done()) != last:
        last = now
        threading.Event().wait(0.2)
    return now


def test_worker_killed_under_load_is_seen_by_the_client():
    """nginx passes on what became of the request: no retry hides it, and nobody else is hurt."""
    dice = roll("test_worker_killed_under_load_is_seen_by_the_client")
    # One worker, so that it is certain to have a request: it is only ever idle between two.
    with served(pool(pm="static", most=1), dice, connections=8) as world:
        world.load.wait_for(200)
        os.kill(world.fpm.worker_pids("shop")[0], signal.SIGKILL)
        world.load.wait_for(200)
        result = world.load.stop()
    assert 1 <= result.failed <= 8
    assert {failure.kind for failure in result.failures} <= {"status", "broken"}
    assert {failure.status for failure in result.failures} <= {502, 200}
