"""Descriptors attached to messages: nobody's close, however long it takes, is left to the master.

Each with the kernel as it is, which refuses them where it is Linux 6.16 or later, and as one that
cannot.
"""

import contextlib
import json
import os
import signal
import socket
import stat

import pytest
from harness.attached import SOURCE, deaf_peer, send_lingering
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.hostile_app import APP, CONTROLS, GOOD, pool, workers_of
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.old_kernel import need_seccomp, without_socket_option

from pyfpm.control import ControlClient
from pyfpm.fastcgi import encode_request

SO_PASSRIGHTS = 83
BROKEN = r"ERROR: \[pool bad\] .*it attached descriptors to a message"
STATUS = b'{"version": 1, "command": "status", "arguments": {}}\n'

ATTACKS = """
def attach(query):
    return send_lingering(next(controls()), b'{"kind":"Saturated","pending":1}', int(query))

def attach_unread(query):
    # And stays: the signal at its death would end the master's wait.
    control = next(controls())
    control.send(b"garbage")
    deaf, told = map(int, query.split(","))
    said = send_lingering(control, b'{"kind":"Saturated","pending":1}', deaf)
    socket.create_connection(("127.0.0.1", told)).send(said.encode())
    while True:
        signal.pause()

def attach_in_backlog(query):
    # To its own pool, and its only worker is busy here for good.
    port, path = query.split(",")
    own = socket.socket(fileno=os.dup(LISTENER))
    try:
        own.setsockopt(socket.SOL_SOCKET, 83, 1)
    except OSError:
        pass  # it takes them anyhow
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    print(send_lingering(client, b"\\1", int(port)), "in the backlog", flush=True)
    while True:
        signal.pause()
"""
HOSTILE = SOURCE + APP + ATTACKS


def refuses():
    """Whether this kernel knows SO_PASSRIGHTS."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError:
            return False
        return True


@pytest.fixture(params=["refuses descriptors", "takes descriptors"])
def launcher(request):
    if request.param == "refuses descriptors":
        if not refuses():
            pytest.skip("this kernel has no SO_PASSRIGHTS (Linux 6.16)")
        return []
    need_seccomp()
    return without_socket_option(SO_PASSRIGHTS) if refuses() else []


def answer(launcher):
    return "sent" if launcher or not refuses() else "EPERM"


@pytest.fixture
def fpm(launcher):
    pools = pool("bad", most=1) + GOOD
    files = {"hostile.py": HOSTILE}
    main = "process_control_timeout = 1s\ncontrol.mode = 0666"
    with Pyfpm(pools, files=files, launcher=launcher, main=main) as running:
        yield running


def assert_undisturbed(fpm):
    """The master answers, and its other pool serves and restarts."""
    assert set(fpm.control("status")["pools"]) >= {"good"}
    before = fpm.worker_pids("good")
    assert fpm.command("restart", "good").returncode == 0
    assert fetch(fpm.address("good.sock"), "/pid").status == 200
    assert fpm.worker_pids("good") != before


def attack(fpm, uri):
    return json.loads(fetch(fpm.address("bad.sock"), uri).body)[1]


def test_worker_that_attaches_a_descriptor_holds_up_nobody(fpm, launcher):
    """A connection whose close takes an hour: it is the kernel's no, or a broken rule."""
    worker = wait_until(lambda: workers_of(fpm, "bad", 1))
    mark = fpm.log.mark()
    with deaf_peer() as port:
        assert attack(fpm, f"/attach?{port}") == answer(launcher)
        assert_undisturbed(fpm)
        if answer(launcher) == "sent":
            fpm.log.wait_for(BROKEN, since=mark)
            wait_until(lambda: workers_of(fpm, "bad", 1) not in (None, worker))
        else:
            assert workers_of(fpm, "bad", 1) == worker
    assert fetch(fpm.address("bad.sock"), "/pid").status == 200


def test_descriptor_on_a_message_that_is_never_read_holds_up_nobody(fpm, launcher):
    """The master hangs up at the garbage before it, and closes what waits behind."""
    wait_until(lambda: workers_of(fpm, "bad", 1))
    mark = fpm.log.mark()
    with (
        deaf_peer() as port,
        socket.create_server(("127.0.0.1", 0)) as told,
        FcgiClient(fpm.address("bad.sock")) as client,
    ):
        told.settimeout(10)
        os.kill(fpm.process.pid, signal.SIGSTOP)  # so that both are there when it reads
        try:
            uri = f"/attach-unread?{port},{told.getsockname()[1]}"
            client.send(encode_request(1, make_params(uri)))
            with told.accept()[0] as said:
                assert said.recv(10) == answer(launcher).encode()
        finally:
            os.kill(fpm.process.pid, signal.SIGCONT)
        fpm.log.wait_for(r"\[pool bad\] child \d+ broke the rules", since=mark)
        assert_undisturbed(fpm)


def test_zygote_that_attaches_descriptors_holds_up_nobody(launcher):
    """Again and again, with each start."""
    with deaf_peer() as port:
        source = SOURCE + CONTROLS
        source += f"said = send_lingering(next(controls()), b'garbage', {port})\n"
        source += "def app(environ, start_response):\n"
        source += "    start_response('200 OK', [])\n    return [said.encode()]\n"
        pools = pool("bad", "preload = on", most=1) + GOOD
        files = {"hostile.py": source}
        with Pyfpm(pools, files=files, launcher=launcher, wait_ready=False) as fpm:
            if answer(launcher) == "sent":
                fpm.log.wait_for(BROKEN, timeout_s=30)
            else:
                fpm.log.wait_for("ready to handle connections", timeout_s=30)
                assert fetch(fpm.address("bad.sock"), "/").body == b"EPERM"
            wait_until(lambda: workers_of(fpm, "good", 1))
            assert_undisturbed(fpm)


@pytest.mark.parametrize("before", [b"", b"nonsense\n"], ids=["read", "unread"])
def test_client_of_the_control_socket_that_attaches_a_descriptor_holds_up_nobody(
    fpm, launcher, before
):
    """Whom control.mode lets ask for the status may do that, and no more."""
    path = str(fpm.folder / "control.sock")
    with deaf_peer() as port, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        os.kill(fpm.process.pid, signal.SIGSTOP)
        try:
            client.connect(path)
            client.send(before)
            assert send_lingering(client, STATUS, port) == answer(launcher)
        finally:
            os.kill(fpm.process.pid, signal.SIGCONT)
        if answer(launcher) == "sent":
            with contextlib.suppress(ConnectionResetError):
                while client.recv(65536):
                    pass
        assert_undisturbed(fpm)
    assert "pools" in ControlClient(path).call("status")


def test_descriptor_in_the_backlog_of_a_pool_that_stops_holds_up_nobody(fpm, launcher):
    """The connection was never accepted, and the master closes the listener last."""
    wait_until(lambda: workers_of(fpm, "bad", 1))
    mark = fpm.log.mark()
    path = fpm.folder / "bad.sock"
    with deaf_peer() as port, FcgiClient(fpm.address("bad.sock")) as client:
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o006)  # its own user may anyhow
        uri = f"/attach-in-backlog?{port},{path}"
        client.send(encode_request(1, make_params(uri)))
        fpm.log.wait_for("in the backlog", since=mark)
        assert fpm.command("stop", "bad").returncode == 0
        assert not path.exists()
        assert_undisturbed(fpm)


def test_web_server_that_attaches_a_descriptor_is_told_that_it_may_not():
    """Where the kernel can: the worker would have closed it, beyond all limits of requests."""
    if not refuses():
        pytest.skip("this kernel has no SO_PASSRIGHTS (Linux 6.16)")
    request = encode_request(1, make_params("/pid"))
    with Pyfpm(GOOD) as fpm, deaf_peer() as port, FcgiClient(fpm.address("good.sock")) as client:
        assert send_lingering(client.socket, request, port) == "EPERM"
        client.send(request)
        assert client.response().status == 200
