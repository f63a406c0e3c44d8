"""Many clients of the control socket, and those of other users: who gets in, and who gives way."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from harness.control import RawClient, running_server, waiting_command

from pyfpm.control import ControlClient, ExitCode
from pyfpm.control import server as server_module
from pyfpm.errors import ControlError
from pyfpm.kernel.sock_diag import read_listen_queue

NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def full_socket(tmp_path):
    """A listener that nobody else can connect to until it accepts, and what fills its backlog."""
    with ExitStack() as held:
        listener = held.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "c.sock"))
        listener.listen(1)
        crowd = []
        while not crowd or crowd[-1].connect_ex(str(tmp_path / "c.sock")) == 0:
            crowd.append(held.enter_context(socket.socket(socket.AF_UNIX)))
            crowd[-1].setblocking(False)
        yield listener, crowd


def test_busy_socket_is_waited_for(full_socket, tmp_path):
    """Readers that crowd it keep the operator waiting, not out; a signal makes no difference."""
    listener, crowd = full_socket
    go_on = threading.Event()

    def answer():
        go_on.wait(30)
        for client in crowd:
            client.close()
        with suppress(OSError):  # the end of the test
            while True:
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(65536):
                        connection.sendall(b'{"ok": true, "result": {"n": 2}}\n')

    thread = threading.Thread(target=answer)
    thread.start()
    # The alarm meets the client where it waits; connect(2) is interrupted by it.
    before = signal.signal(signal.SIGALRM, lambda *_: go_on.set())
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with ControlClient(str(tmp_path / "c.sock"), timeout_s=30) as client:
            assert client.call("reload") == {"n": 2}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        go_on.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_socket_that_stays_busy_is_said_to_be_so(full_socket, tmp_path):
    """A master is there, and to start one would be the wrong thing to do."""
    with pytest.raises(ControlError, match=r"is busy: .* for 0\.2 s") as caught:
        ControlClient(str(tmp_path / "c.sock"), timeout_s=0.2).call("echo")
    assert caught.value.exit_code == ExitCode.NO_MASTER


def test_backlog_is_the_longest_that_the_system_gives(path):
    """At first, and also after it did not accept for a while."""
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
        most = int(file.read())
    with running_server(path) as running:
        for _ in range(2):
            with socket.socket(fileno=os.dup(running.server.socket_fd)) as sock:
                assert read_listen_queue(sock).limit == most
            assert running.run(running.server.quiesce(5))
            running.run(running.server.resume())


def test_client_beyond_the_limit_is_told_so(path):
    """Commands under way are bounded in number; a place that becomes free is given again."""
    commands, go_on = waiting_command()
    with running_server(path, commands) as running, ControlClient(str(path)) as last:
        held = [RawClient(path) for _ in range(server_module.MAX_CLIENTS)]
        for client in held:
            client.send("wait")
        for client in held:
            assert client.read() == {"progress": "begun"}
        with pytest.raises(ControlError, match="too many clients"):
            last.call("echo")
        running.call(go_on.set)
        for client in held:
            assert client.read() == {"ok": True, "result": {}}
            client.close()
        last.close()
        assert last.call("echo") == {"echo": {}}


def clients_of(running):
    return list(running.server._clients.values())


def test_flood_of_silent_connections_keeps_nobody_out(path):
    """Those that only hang give way, oldest first, and the next client is answered at once."""
    with running_server(path, deadline_s=60) as running, ExitStack() as held:
        flood = [held.enter_context(RawClient(path)) for _ in range(100)]
        for _ in range(20):
            started_s = time.monotonic()
            with ControlClient(str(path)) as client:
                assert client.call("change") == {"echo": {}}
            assert time.monotonic() - started_s < 1
        assert flood[0].read() is None
        assert len(clients_of(running)) <= server_module.MAX_CLIENTS


def test_client_whose_request_is_on_its_way_is_not_displaced(path):
    """A hundred that come at once and ask at once are all answered: nobody had time to hang."""
    with running_server(path, deadline_s=60) as running, ExitStack() as held:
        # The loop stands still meanwhile, so that it meets all of them in one round.
        running.call(time.sleep, 0.2)
        crowd = []
        for number in range(100):
            crowd.append(held.enter_context(RawClient(path)))
            crowd[-1].send("echo", n=number)
        for number, client in enumerate(crowd):
            assert client.read() == {"ok": True, "result": {"echo": {"n": number}}}


def test_newcomer_never_displaces_a_command_under_way(path):
    """A reload that waits behind a flood of other clients gets its answer."""
    commands, go_on = waiting_command()
    with running_server(path, commands, deadline_s=60) as running, ExitStack() as held:
        working = held.enter_context(RawClient(path))
        working.send("wait")
        assert working.read() == {"progress": "begun"}
        for _ in range(100):
            held.enter_context(RawClient(path))
        with ControlClient(str(path)) as client:
            client.call("echo")
        running.call(go_on.set)
        assert working.read() == {"ok": True, "result": {}}


def test_newcomers_that_wait_are_bounded_too(path, monkeypatch):
    """Beyond their number a client is turned away at once, not after its share of patience."""
    monkeypatch.setattr(server_module, "PATIENCE_S", 60)
    monkeypatch.setattr(server_module, "MAX_NEWCOMERS", 3)
    commands, go_on = waiting_command()
    with running_server(path, commands) as running, ExitStack() as held:
        crowd = [
            held.enter_context(RawClient(path))
            for _ in range(server_module.MAX_CLIENTS + server_module.MAX_NEWCOMERS)
        ]
        for client in crowd:
            client.send("wait")
        for client in crowd[: server_module.MAX_CLIENTS]:
            assert client.read() == {"progress": "begun"}
        with ControlClient(str(path)) as late, pytest.raises(ControlError, match="too many"):
            late.call("echo")
        running.call(go_on.set)
        for client in crowd[: server_module.MAX_CLIENTS]:
            assert client.read()["ok"]
            client.close()
        for client in crowd[server_module.MAX_CLIENTS :]:
            assert client.read() == {"progress": "begun"}


# Other users


def start_as_nobody(path, *commands, at_once=True):
    """Call commands as another user, each on a connection of its own that stays open."""
    program = (
        "import os, sys, threading\n"
        "from pyfpm.control import ControlClient\n"
        "from pyfpm.errors import ControlError\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "def call(command):\n"
        "    client = ControlClient(sys.argv[1]); clients.append(client)\n"
        "    try: client.call(command); code = 0\n"
        "    except ControlError as error: code = error.exit_code\n"
        "    os.write(1, b'%d\\n' % code)\n"
        "clients = []\n"
        "for command in sys.argv[3:]:\n"
        "    if sys.argv[2] == 'at once':\n"
        "        threading.Thread(target=call, args=[command]).start()\n"
        "    else: call(command)\n"
        "sys.stdin.read()\n"
    )
    order = "at once" if at_once else "in turn"
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path), order, *commands],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def call_as_nobody(path, *commands):
    """Call one command after the other as another user; the process and all exit codes."""
    process = start_as_nobody(path, *commands, at_once=False)
    return process, [int(process.stdout.readline()) for _ in commands]


@pytest.fixture
def open_path():
    """A socket path in a folder that every user can enter (tmp_path is closed to others)."""
    folder = f"/tmp/pyfpm-test-{os.getpid()}"
    os.mkdir(folder)
    os.chmod(folder, 0o755)
    yield f"{folder}/control.sock"
    os.rmdir(folder)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes user")


@needs_root
def test_other_user_admitted_by_the_mode_may_read_only(open_path):
    """Whom the mode admits may ask; a command that changes things is exit code 77."""
    with running_server(open_path, mode=0o666):
        process, codes = call_as_nobody(open_path, "echo", "change")
        process.communicate()
    assert codes == [0, ExitCode.NOT_PERMITTED]


@needs_root
def test_other_user_not_admitted_by_the_mode_gets_77(open_path):
    """The default mode keeps others out at the door."""
    with running_server(open_path):
        process, codes = call_as_nobody(open_path, "echo")
        process.communicate()
    assert codes == [ExitCode.NOT_PERMITTED]


@needs_root
def test_owner_and_group_are_given_before_the_socket_appears(open_path):
    """control.owner and control.group decide who is admitted."""
    with running_server(open_path, owner=str(NOBODY), group="nogroup", mode=0o660):
        facts = os.stat(open_path)
        assert (facts.st_uid, facts.st_gid) == (NOBODY, 65534)
        process, codes = call_as_nobody(open_path, "echo", "change")
        process.communicate()
    assert codes == [0, ExitCode.NOT_PERMITTED]


@needs_root
def test_readers_cannot_lock_the_operator_out(open_path):
    """However many commands another user has under way, root still gets in."""
    commands, go_on = waiting_command()
    with running_server(open_path, commands, mode=0o666, deadline_s=30) as running:
        process = start_as_nobody(open_path, *["wait"] * (server_module.MAX_READERS + 2))
        codes = [int(process.stdout.readline()) for _ in range(2)]
        assert codes == [ExitCode.FAILED] * 2
        assert len(clients_of(running)) == server_module.MAX_READERS
        with ControlClient(open_path) as client:
            assert client.call("change") == {"echo": {}}
        running.call(go_on.set)
        codes = [int(process.stdout.readline()) for _ in range(server_module.MAX_READERS)]
        assert codes == [0] * server_module.MAX_READERS
        process.communicate()


@needs_root
def test_silent_readers_displace_readers_only(open_path):
    """Another user's hanging connections cost the operator's idle one nothing."""
    with (
        running_server(open_path, mode=0o666, deadline_s=30),
        ControlClient(open_path) as operator,
    ):
        operator.call("echo")
        process, codes = call_as_nobody(open_path, *["echo"] * 3 * server_module.MAX_CLIENTS)
        assert codes == [0] * len(codes)
        assert operator.call("change") == {"echo": {}}
        process.communicate()
