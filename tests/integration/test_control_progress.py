"""Commands that take time: progress, signs of life, and clients that hang or go away."""

import asyncio
import threading
import time

import pytest
from harness.control import RawClient, running_server, waiting_command
from harness.machine import wait_until

from pyfpm.control import Command, ControlClient
from pyfpm.errors import ControlError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


def test_progress_comes_before_the_result_in_order(path):
    """What the handler says while it works arrives, without its signs of life."""

    async def work(arguments, call):
        for number in range(3):
            call.progress(f"{number + 1} of 3")
            await asyncio.sleep(0.05)
        return {"done": True}

    heard = []
    commands = {"work": Command(work, changes=True)}
    with (
        running_server(path, commands, keep_alive_s=0.01),
        ControlClient(str(path), on_progress=heard.append) as client,
    ):
        assert client.call("work") == {"done": True}
    assert heard == ["1 of 3", "2 of 3", "3 of 3"]


def test_progress_of_a_failing_command_comes_before_its_error(path):
    """The client learns how far it came, then why it failed, and the connection goes on."""

    async def work(arguments, call):
        call.progress("booting")
        raise ControlError("the application raised ImportError", 1)

    heard = []
    with (
        running_server(path, {"work": Command(work, changes=True)}),
        ControlClient(str(path), on_progress=heard.append) as client,
    ):
        with pytest.raises(ControlError, match="ImportError"):
            client.call("work")
        assert heard == ["booting"]
        assert client.call("echo") == {"echo": {}}


def test_long_command_outlasts_the_clients_patience_and_the_servers_deadline(path):
    """Signs of life keep a client waiting whose command has nothing to say for long."""

    async def work(arguments, call):
        await asyncio.sleep(0.8)
        return {"done": True}

    commands = {"work": Command(work, changes=True)}
    with (
        running_server(path, commands, keep_alive_s=0.05, deadline_s=0.2),
        ControlClient(str(path), timeout_s=0.3) as client,
    ):
        assert client.call("work") == {"done": True}


def test_master_that_hangs_is_given_up(path):
    """Without signs of life the client does not wait for ever."""

    async def hang(arguments, call):
        time.sleep(1)  # noqa: ASYNC251 - the whole loop stands still, as in a master that hangs
        return {}

    commands = {"hang": Command(hang, changes=True)}
    with (
        running_server(path, commands, keep_alive_s=0.05),
        ControlClient(str(path), timeout_s=0.3) as client,
        pytest.raises(ControlError, match="did not answer"),
    ):
        client.call("hang")


def test_command_ends_without_sign_of_life_after_its_answer(path):
    """The next request on the connection reads its own answer first, and no timer stays behind."""
    with running_server(path, keep_alive_s=0.02) as running, RawClient(path) as client:
        client.send("echo", n=1)
        assert client.read()["ok"]
        time.sleep(0.1)  # time for a timer that was left behind
        client.send("echo", n=2)
        assert client.read() == {"ok": True, "result": {"echo": {"n": 2}}}
        timers = [timer for timer in running.loop._scheduled if not timer.cancelled()]
        assert not [timer for timer in timers if "Call" in repr(timer)]


def test_client_that_goes_away_does_not_end_its_command(path):
    """Whoever presses Ctrl-C during a reload ends the watching, not the reload."""
    go_on, ended = asyncio.Event(), threading.Event()

    async def work(arguments, call):
        call.progress("begun")
        await go_on.wait()
        for number in range(1000):
            call.progress(f"step {number}")
        ended.set()
        return {}

    with running_server(path, {"work": Command(work, changes=True)}, keep_alive_s=0.02) as running:
        with RawClient(path) as client:
            client.send("work")
            assert client.read() == {"progress": "begun"}
        time.sleep(0.1)  # signs of life meet a closed connection
        running.call(go_on.set)
        assert ended.wait(5)
        wait_until(lambda: not running.server._clients)
        with ControlClient(str(path)) as client:
            assert client.call("echo") == {"echo": {}}


def test_client_that_never_reads_is_dropped_and_its_command_goes_on(path):
    """Progress is never waited for and never piles up; others are answered meanwhile."""
    ended = threading.Event()
    unsent = []

    async def flood(arguments, call):
        for _ in range(200):
            for _ in range(100):
                call.progress("x" * 100)
            unsent.append(call._writer.transport.get_write_buffer_size())
            await asyncio.sleep(0)
        ended.set()
        return {}

    commands = {"flood": Command(flood, changes=True)}
    with running_server(path, commands) as running, RawClient(path) as deaf:
        deaf.send("flood")
        assert ended.wait(5)
        with ControlClient(str(path)) as client:
            assert client.call("echo") == {"echo": {}}
        wait_until(lambda: not running.server._clients)
        received = 0
        while data := deaf.sock.recv(65536):
            received += len(data)
        assert max(unsent) < 300_000
        assert received < 1_000_000  # of more than two million bytes of progress


def test_pause_of_accepting_keeps_the_backlog_and_waits_for_commands(path):
    """Quiesce lets commands end; whoever connects meanwhile is served after it."""
    commands, go_on = waiting_command()
    with running_server(path, commands) as running, RawClient(path) as busy:
        idle = RawClient(path)
        idle.send("echo")
        assert idle.read()["ok"]
        busy.send("wait")
        assert busy.read() == {"progress": "begun"}
        assert running.run(running.server.quiesce(0.3)) is False
        assert idle.read() is None
        with RawClient(path) as later:
            later.send("echo")
            running.call(go_on.set)
            assert running.run(running.server.quiesce(5)) is True
            assert busy.read() == {"ok": True, "result": {}}
            assert busy.read() is None
            running.run(running.server.resume())
            assert later.read() == {"ok": True, "result": {"echo": {}}}


def test_pause_ends_as_soon_as_the_last_command_has(path):
    """A client whose command ended is not waited for, though it stays connected."""
    commands, go_on = waiting_command()
    with running_server(path, commands) as running, RawClient(path) as busy:
        busy.send("wait")
        assert busy.read() == {"progress": "begun"}
        running.loop.call_soon_threadsafe(running.loop.call_later, 0.5, go_on.set)
        assert running.run(running.server.quiesce(5)) is True
        assert busy.read() == {"ok": True, "result": {}}
        assert busy.read() is None


def test_client_accepted_just_before_the_pause_is_still_answered(path):
    """A request that is on its way when the server goes quiet is not cut off."""
    with running_server(path) as running, RawClient(path) as client:
        wait_until(lambda: running.server._clients)
        answer = []

        def ask():
            client.send("echo")
            answer.append(client.read())

        thread = threading.Thread(target=ask)
        thread.start()
        assert running.run(running.server.quiesce(5)) is True
        thread.join(5)
        assert answer == [{"ok": True, "result": {"echo": {}}}]


def test_pause_spares_the_call_that_asks_for_it(path):
    """An upgrade waits for all other commands, and not for itself."""
    quiet = []

    async def upgrade(arguments, call):
        quiet.append(await running.server.quiesce(5, but=call))
        await running.server.resume()
        return {}

    with (
        running_server(path, {"upgrade": Command(upgrade, changes=True)}) as running,
        ControlClient(str(path)) as client,
    ):
        assert client.call("upgrade") == {}
        assert client.call("echo") == {"echo": {}}
    assert quiet == [True]


def test_closing_cancels_commands_under_way(path):
    """A master that ends waits for no command."""
    cancelled = threading.Event()

    async def work(arguments, call):
        call.progress("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with running_server(path, {"work": Command(work, changes=True)}), RawClient(path) as client:
        client.send("work")
        assert client.read() == {"progress": "begun"}
    assert cancelled.is_set()
