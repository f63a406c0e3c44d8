"""Workers that break or flood what they share with their master: it is neither stopped nor busy."""

import os
import signal

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.hostile_app import APP, GOOD, beside_good, pool, undisturbed, workers_of
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import busy_share, count_descriptors, watching

from pyfpm.fastcgi import encode_request

POOLS = pool("bad") + pool("od", "pm.process_idle_timeout = 1s", pm="ondemand", most=1) + GOOD

ATTACKS = """\
import atexit, ctypes, fcntl, signal, time

SATURATED = b'{"kind":"Saturated","pending":1}'
READY = b'{"kind":"Ready","boot_s":0.1,"preloaded":true,"reason":""}'

def say(message):
    for control in controls():
        control.setblocking(True)
        try:
            control.send(message)
        except OSError:
            pass

def unblock(query):
    # O_NONBLOCK belongs to the open file, which the master shares.
    def leave():
        ours, theirs = socket.socketpair()
        channel = socket.socket(fileno=os.dup(SEND))
        socket.send_fds(channel, [b"c"], [ours.fileno()])
        for descriptor in (SEND, RECEIVE, LISTENER):
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    atexit.register(leave)

def shut(query):
    socket.socket(fileno=os.dup(SEND)).shutdown(socket.SHUT_RDWR)

def print_lines(query):
    for _ in range(int(query)):
        os.write(1, b"\\n" * 65536)
    os.write(1, b"the flood is over\\n")

def flood(query):
    control = next(controls())
    control.setblocking(True)
    while True:
        control.send(SATURATED)

def say_again(query):
    say({
        "ready": READY,
        "boot": b'{"kind":"BootFailed","text":"a lie"}',
        "unsafe": b'{"kind":"UnsafePreload","reason":"a lie"}',
    }[query])
    time.sleep(60)

def leave_child(query):
    # Not os.fork, after which the runtime gives its descriptors back.
    libc = ctypes.CDLL(None)
    if libc.fork():
        return None
    control = next(controls())
    control.setblocking(False)
    end_s = time.monotonic() + 4
    while time.monotonic() < end_s:
        for attempt in (lambda: control.send(SATURATED), lambda: os.write(1, b"child\\n"),
                        lambda: os.write(2, b"x" * 100)):
            try:
                attempt()
            except OSError:
                pass
        time.sleep(0.001)
    libc._exit(0)
"""


@pytest.fixture(scope="module")
def shared():
    with Pyfpm(POOLS, files={"hostile.py": APP + ATTACKS}) as running:
        wait_until(lambda: workers_of(running, "bad", 2))
        yield running


@pytest.fixture
def fpm(shared):
    """Before and after each attack the other pool is undisturbed; afterwards all pools serve."""
    fpm = shared
    with undisturbed(fpm):
        yield fpm
    for name in ("bad", "od"):
        address = fpm.address(f"{name}.sock")
        wait_until(lambda address=address: fetch(address, "/pid").status == 200)
    wait_until(lambda: workers_of(fpm, "bad", 2))


def test_channel_that_a_worker_made_blocking_does_not_stop_the_master(fpm):
    """The master takes what is in the channel of a pool without workers, and finds its end."""
    assert fetch(fpm.address("od.sock"), "/unblock").status == 200
    (worker,) = fpm.worker_pids("od")
    with watching(worker) as ends:
        os.kill(worker, signal.SIGTERM)
        ends.wait()
    wait_until(lambda: not fpm.worker_pids("od"))
    wait_until(lambda: fpm.pool_status("good")["state"] == "running")
    assert fetch(fpm.address("od.sock"), "/pid").status == 200


@pytest.mark.parametrize("pool", ["bad", "od"])
def test_channel_that_a_worker_shut_down_is_replaced_with_its_generation(fpm, pool):
    """Nothing spins at its end meanwhile, in the master or in a worker beside it."""
    mark, generation = fpm.log.mark(), fpm.pool_status(pool)["generation"]
    assert fetch(fpm.address(f"{pool}.sock"), "/shut").status == 200
    fpm.log.wait_for(rf"\[pool {pool}\] a worker has spoilt the hand-off channel", since=mark)
    wait_until(lambda: fpm.pool_status(pool)["generation"] == generation + 1)
    wait_until(lambda: fpm.pool_status(pool)["state"] == "running")
    assert fetch(fpm.address(f"{pool}.sock"), "/pid").status == 200
    assert busy_share(fpm.process.pid, 1.0) < 0.5


def test_line_breaks_without_end_are_dropped_and_counted(fpm):
    """Each would be a line of its own: 65,536 in one read."""
    mark = fpm.log.mark()
    with FcgiClient(fpm.address("bad.sock"), 60) as client:
        client.send(encode_request(1, make_params("/print_lines?100")))
        for _ in range(5):
            assert fpm.pool_status("good")["state"] == "running"
        assert client.response().complete
    dropped = r"\[pool bad\] \d+ lines .* of output dropped: workers print more than"
    fpm.log.wait_for(dropped, since=mark)
    assert len(fpm.log.lines(mark)) < 100 * 65_536 / 10


def test_flood_of_messages_ends_its_sender(fpm):
    """It is read no faster than its budget allows, and in the end not at all."""
    mark = fpm.log.mark()
    with FcgiClient(fpm.address("bad.sock"), 60) as client:
        client.send(encode_request(1, make_params("/flood")))
        assert busy_share(fpm.process.pid, 3.0) < 0.6
        fault = "broke the rules of its control socket, and is ended: it goes on sending more than"
        fpm.log.wait_for(
            rf"\[pool bad\] child \d+ {fault} 200 messages a second", since=mark, timeout_s=60
        )
        assert client.response().status != 200


@pytest.mark.parametrize(
    ("what", "kind"),
    [("ready", "Ready"), ("boot", "BootFailed"), ("unsafe", "UnsafePreload")],
)
def test_what_a_worker_may_say_once_is_not_believed_twice(fpm, what, kind):
    """A degraded pool would be called well, or a sound one degraded."""
    mark = fpm.log.mark()
    with FcgiClient(fpm.address("bad.sock"), 60) as client:
        client.send(encode_request(1, make_params(f"/say_again?{what}")))
        fpm.log.wait_for(rf"broke the rules .*: {kind} is not for a worker to say now", since=mark)
        assert fpm.pool_status("bad")["state"] == "running"
        assert not client.response().complete
    assert not fpm.log.find("ALERT|a lie", since=mark)


def test_child_with_the_descriptors_of_a_dead_worker_is_heard_by_nobody(fpm):
    """It goes on talking on the control socket and printing; the master lets go of both."""
    before = count_descriptors(fpm.process.pid)
    mark = fpm.log.mark()
    response = fetch(fpm.address("bad.sock"), "/leave_child")
    worker = int(response.body.split(b",")[0].strip(b"["))
    fpm.log.wait_for(r"child$", since=mark)
    with watching(worker) as ends:
        os.kill(worker, signal.SIGKILL)
        ends.wait()
    workers = wait_until(lambda: workers_of(fpm, "bad", 2))
    assert worker not in workers
    wait_until(lambda: count_descriptors(fpm.process.pid) <= before)


def test_listener_that_a_worker_shut_down_is_made_anew_when_its_pool_is_started_again():
    """Until then the pool serves nobody, which is its own affair; the master has little to do."""
    source = (
        APP
        + ATTACKS
        + (
            "def shut_listener(query):\n"
            "    socket.socket(fileno=os.dup(LISTENER)).shutdown(socket.SHUT_RDWR)\n"
        )
    )
    with beside_good("dynamic", source) as fpm:
        assert fetch(fpm.address("bad.sock"), "/shut_listener").status == 200
        assert busy_share(fpm.process.pid, 2.0) < 0.5
        assert fetch(fpm.address("good.sock"), "/pid").status == 200
        assert fpm.command("stop", "bad").returncode == 0
        assert fpm.command("start-pool", "bad").returncode == 0
        assert fetch(fpm.address("bad.sock"), "/pid").status == 200
