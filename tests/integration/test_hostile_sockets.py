"""Sockets and files that a worker prepares so that whoever receives or closes them must wait."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import fuse_flush
from harness.fcgi_client import fetch
from harness.hostile_app import APP, GOOD, pool
from harness.machine import free_port, temporary_folder, wait_until
from harness.master import Pyfpm
from harness.processes import count_descriptors, watching

ONDEMAND = pool("od", "keepalive_timeout = 1s", pm="ondemand", most=1)
LINGERING = (Path(fuse_flush.__file__).parent / "lingering.py").read_text(encoding="utf-8")

ATTACKS = """\
import atexit, ctypes, fcntl, signal, sys, termios, time

sys.path.insert(0, os.path.dirname(__file__))
from lingering import linger, make_lingering

libc = ctypes.CDLL(None)

def hold(*sockets):
    # In a child that pyfpm does not know of: not os.fork, which would give descriptors back.
    master = os.getppid()
    if libc.fork():
        return
    keep = {one.fileno() for one in sockets}
    for number in range(64):
        if number not in keep:
            with contextlib.suppress(OSError):
                os.close(number)
    while os.path.exists(f"/proc/{master}"):
        time.sleep(0.05)
    libc._exit(0)

def into_channel_at_exit(*descriptors):
    # When the master has heard that its last worker leaves, and no other will take them.
    def leave():
        channel = socket.socket(fileno=os.dup(SEND))
        socket.send_fds(channel, [b"c"], descriptors)
        while fcntl.ioctl(RECEIVE, termios.FIONREAD, bytes(4)) != bytes(4):
            time.sleep(0.01)  # or its death could be seen first, and another worker started
        os.kill(os.getpid(), signal.SIGKILL)
    atexit.register(leave)

def linger_in_channel(query):
    ours, theirs = make_lingering()
    hold(theirs)
    into_channel_at_exit(*[ours.detach()] * int(query))

def file_in_channel(query):
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(query)
        _, (file,), _, _ = socket.recv_fds(server, 16, 1)
    into_channel_at_exit(file)

def turn_listener(query):
    # connect(AF_UNSPEC) ends a listener; then it is a socket like any other.
    sock = socket.socket(fileno=os.dup(LISTENER))
    assert libc.connect(sock.fileno(), bytes(16), 16) == 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock.setblocking(True)
        sock.connect(server.getsockname())
        theirs, _ = server.accept()
    linger(sock)
    hold(theirs)

def add(query):
    # SO_PASSPIDFD, for one: who receives gets a descriptor with each message.
    socket.socket(fileno=os.dup(RECEIVE)).setsockopt(socket.SOL_SOCKET, int(query), 1)
    send = socket.socket(fileno=os.dup(SEND))
    if libc.fork():
        os.kill(os.getpid(), signal.SIGKILL)
    for number in range(64):
        if number != send.fileno():
            with contextlib.suppress(OSError):
                os.close(number)
    end_s = time.monotonic() + 5
    while time.monotonic() < end_s:
        try:
            send.send(b"c", socket.MSG_DONTWAIT)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break
    libc._exit(0)
"""
FILES = {"hostile.py": "import contextlib\n" + APP + ATTACKS, "lingering.py": LINGERING}


def leave_in_channel(fpm, target):
    """Have the only worker of a pool put something into the channel, and end."""
    worker = json.loads(fetch(fpm.address("od.sock"), target).body)[0]
    with watching(worker) as ends:
        os.kill(worker, signal.SIGTERM)
        ends.wait()


@pytest.fixture
def fpm():
    with Pyfpm(ONDEMAND + GOOD, files=FILES) as running:
        wait_until(lambda: running.zygote_pid("od") and running.worker_pids("good"))
        yield running


def goes_on(fpm):
    """The master answers, both pools serve, and there is nothing that is not closed."""
    for name in ("od", "good"):
        assert fetch(fpm.address(f"{name}.sock"), "/pid").status == 200
    assert fpm.pool_status("good")["state"] == "running"


def parked(fpm):
    return fpm.pool_status("od")["parked connections"]


def test_connection_whose_close_waits_keeps_the_master_from_nothing(fpm):
    """Adopted, expired and closed, which nobody waits for."""
    before = count_descriptors(fpm.process.pid)
    leave_in_channel(fpm, "/linger-in-channel?1")
    wait_until(lambda: parked(fpm) == 1)
    wait_until(lambda: parked(fpm) == 0)
    wait_until(lambda: count_descriptors(fpm.process.pid) <= before)
    goes_on(fpm)


def test_second_connection_of_a_message_keeps_the_master_from_nothing(fpm):
    """It breaks the rule of the channel, and is closed with what is left there."""
    leave_in_channel(fpm, "/linger-in-channel?2")
    fpm.log.wait_for(r"\[pool od\] a worker has spoilt the hand-off channel")
    wait_until(lambda: fpm.pool_status("od")["generation"] == 2)
    goes_on(fpm)


@pytest.mark.parametrize("option", [16, 76])
def test_option_that_adds_to_messages_gets_the_channel_replaced(fpm, option):
    """SO_PASSCRED takes the place of descriptors, SO_PASSPIDFD makes one with each message."""
    before = count_descriptors(fpm.process.pid)
    with contextlib.suppress(AssertionError, EOFError, OSError):  # the worker does not answer
        fetch(fpm.address("od.sock"), f"/add?{option}")
    fpm.log.wait_for(r"\[pool od\] a worker has spoilt the hand-off channel")
    wait_until(lambda: fpm.pool_status("od")["generation"] == 2)
    assert count_descriptors(fpm.process.pid) <= before + 16
    goes_on(fpm)


@contextlib.contextmanager
def fuse_server(folder):
    """The address where a file is to be had that strangers cannot close."""
    address = str(folder / "file.sock")
    (folder / "mount").mkdir()
    words = [sys.executable, fuse_flush.__file__, str(folder / "mount"), address]
    server = subprocess.Popen(
        ["unshare", "--mount", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        if server.stdout.readline() != b"mounted\n":
            pytest.skip("no FUSE mounts can be made here")
        yield address
    finally:
        server.stdin.close()
        server.wait(10)
        server.stdout.close()


def test_file_on_a_mount_that_does_not_answer_stops_a_child_of_the_master_alone(as_root):
    """To receive it is to be at its mercy: no close and no look at it ever ends."""
    with temporary_folder() as folder, Pyfpm(ONDEMAND + GOOD, files=FILES) as fpm:
        wait_until(lambda: fpm.zygote_pid("od") and fpm.worker_pids("good"))
        with fuse_server(folder) as address:
            leave_in_channel(fpm, f"/file-in-channel?{address}")
            fpm.log.wait_for(r"\[pool od\] process \d+ has been looking at what is in its hand-off")
            line = fpm.log.find("has been looking at")[0]
            pid = int(line.partition("process ")[2].split()[0])
            assert os.path.exists(f"/proc/{pid}")
            goes_on(fpm)
            wait_until(lambda: fpm.pool_status("od")["generation"] == 2)
            goes_on(fpm)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
        goes_on(fpm)


def test_listener_that_became_a_connection_keeps_no_stop_of_its_pool():
    """And the pool can be started again, at the same address."""
    port = free_port()
    tcp = pool("tcp", most=1).replace("%(here)s/tcp.sock", f"127.0.0.1:{port}")
    with Pyfpm(tcp + GOOD, files=FILES) as fpm:
        wait_until(lambda: fpm.worker_pids("tcp"))
        assert fetch(f"127.0.0.1:{port}", "/turn-listener").status == 200
        stopped = fpm.command("stop", "tcp")
        assert stopped.returncode == 0, stopped.stderr
        assert fetch(fpm.address("good.sock"), "/pid").status == 200
        started = fpm.command("start-pool", "tcp")
        assert started.returncode == 0, started.stderr
        assert fetch(f"127.0.0.1:{port}", "/pid").status == 200
