"""A control server that replaces its own program by exec in the middle of a command."""

import os
import subprocess
import sys

import pytest
from harness.control import RawClient, running_server
from harness.master import environment

from pyfpm.control import Command, ControlClient
from pyfpm.errors import ControlError

# The first life serves `upgrade` by exec of itself; the second gets both descriptors and answers.
PROGRAM = """\
import asyncio, os, socket, sys
from pyfpm.control import Command, ControlServer, resume_call

path = sys.argv[1]

async def serve(server):
    await server.start()
    print("up", os.getpid(), flush=True)

async def life(arguments, call):
    return {"life": len(sys.argv)}

async def upgrade(arguments, call):
    call.progress("the new code is tried")
    assert await server.quiesce(5, but=call)
    client = await call.detach()
    call.progress("too late to be sent")
    if arguments.get("fails"):
        client.close()
        await server.resume()
        return {"failed": True}
    descriptors = [server.socket_fd] + ([client.fileno()] if client else [])
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    os.execv(sys.executable, [sys.executable, __file__, path, *map(str, descriptors)])

async def first():
    await serve(server)
    await asyncio.Event().wait()

async def second(descriptor):
    await serve(server)
    if descriptor:
        call = await resume_call(socket.socket(fileno=int(descriptor[0])), keep_alive_s=0.05)
        call.progress("the new code runs")
        await asyncio.sleep(0.5)
        call.succeed({"pid": os.getpid()})
    await asyncio.Event().wait()

async def end(arguments, call):
    await server.close()
    asyncio.get_running_loop().call_later(0.1, sys.exit)
    return {}

commands = {
    "life": Command(life, changes=False),
    "upgrade": Command(upgrade, changes=True),
    "end": Command(end, changes=True),
}
if len(sys.argv) == 2:
    server = ControlServer(path, commands=commands, keep_alive_s=0.05)
    asyncio.run(first())
else:
    inherited = socket.socket(fileno=int(sys.argv[2]))
    server = ControlServer(path, commands=commands, inherited=inherited, keep_alive_s=0.05)
    asyncio.run(second(sys.argv[3:]))
"""


@pytest.fixture
def master(tmp_path):
    """The program above, and its control socket."""
    script = tmp_path / "master.py"
    script.write_text(PROGRAM)
    path = tmp_path / "control.sock"
    with subprocess.Popen(
        [sys.executable, str(script), str(path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == f"up {process.pid}\n"
        yield process, path
        process.kill()


def test_client_of_an_upgrade_is_answered_by_the_new_program(master):
    """One command begins in the old program and ends in the new one, on one connection."""
    process, path = master
    heard = []
    with ControlClient(str(path), timeout_s=2, on_progress=heard.append) as client:
        assert client.call("life") == {"life": 2}
        assert client.call("upgrade") == {"pid": process.pid}
    assert heard == ["the new code is tried", "the new code runs"]
    with ControlClient(str(path)) as client:
        assert client.call("life") == {"life": 4}


def test_client_that_connects_during_an_upgrade_is_served_after_it(master):
    """The listening socket and its backlog pass from one program to the other."""
    _, path = master
    with RawClient(path) as first:
        first.send("upgrade")
        assert first.read() == {"progress": "the new code is tried"}
        # It is accepted by the old program, or waits for the new one.
        with RawClient(path) as late:
            late.send("life")
            assert late.read()["ok"]
        while "ok" not in (line := first.read()):
            pass
        assert line["ok"]


def test_upgrade_whose_client_went_away_goes_on(master):
    """Nobody has to wait for an upgrade that was begun."""
    process, path = master
    with RawClient(path) as client:
        client.send("upgrade")
    assert process.stdout.readline() == f"up {process.pid}\n"
    with ControlClient(str(path)) as client:
        assert client.call("life")["life"] in (3, 4)


def test_upgrade_that_fails_after_detaching_is_answered_by_the_old_program(master):
    """A detached call still gives its result where the exec did not happen."""
    _, path = master
    with ControlClient(str(path)) as client:
        assert client.call("upgrade", fails=True) == {"failed": True}
    with ControlClient(str(path)) as client:
        assert client.call("life") == {"life": 2}


def test_inherited_socket_file_is_removed_at_the_end(master):
    """The file is still ours after an upgrade."""
    process, path = master
    with ControlClient(str(path)) as client:
        client.call("upgrade")
        client.close()
        client.call("end")
    assert process.wait(5) == 0
    assert not path.exists()


def test_file_that_replaced_an_inherited_socket_is_left_alone(master):
    """The new program does not take another one's socket for its own."""
    process, path = master
    with ControlClient(str(path)) as client, ControlClient(str(path)) as last:
        assert client.call("upgrade") == {"pid": process.pid}
        last.call("life")
        moved = path.with_suffix(".old")
        os.rename(path, moved)
        path.write_text("somebody else's")
        with ControlClient(str(moved)) as upgrader:
            assert upgrader.call("upgrade") == {"pid": process.pid}
        with ControlClient(str(moved)) as ender:
            ender.call("end")
    assert process.wait(5) == 0
    assert path.read_text() == "somebody else's"


def test_detaching_from_a_client_that_never_reads_gives_none(tmp_path):
    """What was half sent cannot be continued elsewhere, and is not waited for."""
    seen = []

    async def upgrade(arguments, call):
        while not call._writer.transport.get_write_buffer_size():
            call.progress("x" * 10_000)
        seen.append(await call.detach(timeout_s=0.2))
        raise ControlError("no upgrade", 1)

    path = tmp_path / "control.sock"
    commands = {"upgrade": Command(upgrade, changes=True)}
    with running_server(path, commands, deadline_s=0.2), RawClient(path) as deaf:
        deaf.send("upgrade")
        with ControlClient(str(path)) as client:
            assert client.call("echo") == {"echo": {}}
            while not seen:
                client.call("echo")
    assert seen == [None]
