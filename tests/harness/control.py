"""A control server with commands of a test's own, in a thread, and the bytes of its protocol."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pyfpm.control import Command, ControlServer
from pyfpm.errors import ControlError, PyfpmError


def default_commands():
    async def echo(arguments, call):
        return {"echo": arguments}

    async def refuse(arguments, call):
        raise ControlError("no such pool", 1)

    async def fail(arguments, call):
        raise PyfpmError("disk is full")

    async def break_down(arguments, call):
        raise ZeroDivisionError

    return {
        "echo": Command(echo, changes=False),
        "change": Command(echo, changes=True),
        "refuse": Command(refuse, changes=False),
        "fail": Command(fail, changes=False),
        "break": Command(break_down, changes=False),
    }


def waiting_command():
    """A command `wait` that reports `begun` and ends when the event is set, and the event."""
    go_on = asyncio.Event()

    async def wait(arguments, call):
        call.progress("begun")
        await go_on.wait()
        return {}

    return {"wait": Command(wait, changes=False)}, go_on


class RunningServer:
    """The server, and a way to let coroutines run in its loop."""

    def __init__(self, server, loop):
        self.server = server
        self.loop = loop

    def call(self, function, *arguments):
        """Call a function in the loop, where asyncio's events have to be set."""
        self.loop.call_soon_threadsafe(function, *arguments)

    def run(self, coroutine, timeout_s=10):
        """Run a coroutine in the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)


@contextmanager
def running_server(path, commands=None, **options) -> Iterator[RunningServer]:
    """A control server in a thread with a loop of its own, until the block ends."""
    loop = asyncio.new_event_loop()
    commands = {**default_commands(), **(commands or {})}
    server = ControlServer(str(path), commands=commands, **options)
    running = RunningServer(server, loop)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        running.run(server.start())
        try:
            yield running
        finally:
            running.run(server.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def request_line(command, **arguments):
    request = {"version": 1, "command": command, "arguments": arguments}
    return json.dumps(request).encode() + b"\n"


class RawClient:
    """A control client that reads lines only when it is told to."""

    def __init__(self, path, timeout_s=10):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout_s)
        self.sock.connect(str(path))
        self._file = self.sock.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._file.close()
        self.sock.close()

    def send(self, command, **arguments):
        self.sock.sendall(request_line(command, **arguments))

    def read(self):
        """The next line as an object; None at the end of the connection."""
        line = self._file.readline()
        return json.loads(line) if line else None
