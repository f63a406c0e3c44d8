"""The control server and client over real Unix sockets."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest
from harness.control import running_server

from pyfpm.control import Command, ControlClient, ExitCode
from pyfpm.errors import ControlError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "control.sock"


def raw_exchange(path, data, timeout=5):
    """Send bytes as they are; return everything that comes back until the end."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(str(path))
        sock.sendall(data)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
        return received


def test_command_answers_with_the_handlers_result(path):
    """Arguments arrive as sent and the result comes back, several times on one connection."""
    with running_server(path), ControlClient(str(path)) as client:
        assert client.call("echo", pool="shop", full=True) == {
            "echo": {"pool": "shop", "full": True}
        }
        assert client.call("echo") == {"echo": {}}


@pytest.mark.parametrize(
    ("command", "exit_code", "message"),
    [
        ("refuse", 1, "no such pool"),
        ("fail", 1, "disk is full"),
        ("break", 70, "ZeroDivisionError"),
        ("unheard-of", 64, "unheard-of"),
    ],
)
def test_failing_command_raises_with_message_and_exit_code(path, command, exit_code, message):
    """Every kind of failure keeps its own exit code, and the server goes on."""
    with running_server(path), ControlClient(str(path)) as client:
        with pytest.raises(ControlError, match=message) as caught:
            client.call(command)
        assert caught.value.exit_code == exit_code
        assert client.call("echo") == {"echo": {}}


def test_no_socket_is_exit_code_69(path):
    """Without a master the client says where it looked."""
    with pytest.raises(ControlError, match=str(path)) as caught:
        ControlClient(str(path)).call("echo")
    assert caught.value.exit_code == ExitCode.NO_MASTER


def test_silent_master_is_given_up_after_the_timeout(path, tmp_path):
    """A master that accepts and says nothing does not hang the client."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute.sock"))
        listener.listen()
        with pytest.raises(ControlError, match="did not answer") as caught:
            ControlClient(str(tmp_path / "mute.sock"), timeout_s=0.2).call("echo")
    assert caught.value.exit_code == ExitCode.NO_MASTER


def test_progress_lines_come_before_the_result(tmp_path):
    """Progress goes to the callback, in order, and the reply ends the call."""
    lines = [{"progress": "1 of 2"}, {"progress": "2 of 2"}, {"ok": True, "result": {"n": 2}}]
    heard = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "c.sock"))
        listener.listen()

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"".join(json.dumps(x).encode() + b"\n" for x in lines))

        thread = threading.Thread(target=answer)
        thread.start()
        with ControlClient(str(tmp_path / "c.sock"), on_progress=heard.append) as client:
            assert client.call("reload") == {"n": 2}
        thread.join(5)
    assert heard == ["1 of 2", "2 of 2"]


def test_closing_removes_the_socket_file(path):
    """Nothing stays behind in the folder, under no name."""
    with running_server(path):
        assert os.listdir(path.parent) == ["control.sock"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == []


def test_stale_socket_is_replaced(path):
    """The socket of a master that died is no obstacle."""
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with running_server(path), ControlClient(str(path)) as client:
        assert client.call("echo") == {"echo": {}}


def test_live_socket_of_another_master_is_left_alone(path):
    """A second master refuses to start and the first one still answers."""
    with running_server(path), ControlClient(str(path)) as client:
        with (
            pytest.raises(ControlError, match="another master answers on"),
            running_server(path),
        ):
            pass
        assert os.listdir(path.parent) == ["control.sock"]
        assert client.call("echo") == {"echo": {}}


def test_file_that_is_no_socket_is_left_alone(path):
    """A file in the place of the socket is an error, not a victim."""
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ControlError, match="no socket"), running_server(path):
        pass
    assert path.read_text() == "precious"
    assert os.listdir(path.parent) == ["control.sock"]


def test_socket_replaced_by_another_master_survives_our_end(path):
    """A master that ends removes its own socket only."""
    with running_server(path):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\xff\n",
        b"{}\n",
        b"x" * 70_000 + b"\n",
        b"[" * 60_000 + b"\n",
    ],
)
def test_rubbish_is_answered_and_closed(path, rubbish):
    """A line that is no request gets one failure, the connection ends, and the server goes on."""
    with running_server(path), ControlClient(str(path)) as client:
        reply = json.loads(raw_exchange(path, rubbish))
        assert reply["ok"] is False
        assert reply["exit_code"] == 64
        assert client.call("echo") == {"echo": {}}


def test_client_that_sends_nothing_is_closed_at_the_deadline(path):
    """A hanging client loses its place after the deadline."""
    with running_server(path, deadline_s=0.2):
        assert raw_exchange(path, b"") == b""
        assert raw_exchange(path, b'{"version":') == b""


def test_client_that_takes_no_reply_is_closed_at_the_deadline(path):
    """A client that asks and never reads costs the server one deadline."""

    async def long_answer(arguments, call):
        return {"filler": "x" * 5_000_000}

    commands = {"long": Command(long_answer, changes=False)}
    with running_server(path, commands, deadline_s=0.2) as running:
        server = running.server
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b'{"version":1,"command":"long","arguments":{}}\n')
            deadline = time.monotonic() + 5
            while not server._clients and time.monotonic() < deadline:
                time.sleep(0.01)
            while server._clients and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not server._clients
            # Nothing is kept for it either: only what the kernel held already still arrives.
            sock.settimeout(5)
            assert sum(map(len, iter(lambda: sock.recv(65536), b""))) < 5_000_000
        with ControlClient(str(path)) as client:
            assert client.call("echo") == {"echo": {}}


def test_waiting_for_the_masters_end_returns_when_it_is_gone(tmp_path):
    """`pyfpm stop` knows when the process behind the socket has ended."""
    path = str(tmp_path / "c.sock")
    program = (
        "import socket, sys\n"
        f"s = socket.socket(socket.AF_UNIX); s.bind({path!r}); s.listen()\n"
        "print('up', flush=True); c, _ = s.accept(); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with ControlClient(path) as client:
            assert client.wait_master_end(0.1) is False
            process.stdin.close()
            assert client.wait_master_end(5) is True
        process.wait(5)


def test_other_server_at_the_path_is_no_master(path):
    """Whatever listens there, an operator hears that it is not pyfpm."""
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            ControlClient(str(path)) as client,
            pytest.raises(ControlError, match=f"what answers at {path} is no master") as caught,
        ):
            client.call("status")
        thread.join(10)
    assert caught.value.exit_code == ExitCode.NO_MASTER
