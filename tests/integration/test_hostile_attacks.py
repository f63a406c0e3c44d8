"""Workers and zygotes that attack what they share with the master, or keep it busy without end."""

import contextlib
import os
import signal
import time

import psutil
import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import children_of, count_descriptors, title_of, watching

from pyfpm.fastcgi import encode_request

POOLS = """
[pool:bad]
app = attacks:app
listen = %(here)s/bad.sock
pm = static
pm.max_children = 2

[pool:od]
app = attacks:app
listen = %(here)s/od.sock
pm = ondemand
pm.max_children = 1
pm.process_idle_timeout = 1s

[pool:good]
app = torture:app
listen = %(here)s/good.sock
pm = static
pm.max_children = 1
"""

ATTACKS = """\
import atexit, ctypes, fcntl, json, os, signal, socket, time

SEND, RECEIVE, LISTENER = 8, 9, 10
SATURATED = b'{"kind":"Saturated","pending":1}'
READY = b'{"kind":"Ready","boot_s":0.1,"preloaded":true,"reason":""}'

def controls():
    found = []
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (SEND, RECEIVE):
            try:
                one = socket.socket(fileno=os.dup(int(name)))
            except OSError:
                continue
            if one.type == socket.SOCK_SEQPACKET:
                one.setblocking(True)
                found.append(one)
    return found

def say(message):
    for control in controls():
        try:
            control.send(message)
        except OSError:
            pass

def app(environ, start_response):
    result = globals()[environ["PATH_INFO"][1:]](environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), result]).encode()]

def pid(query):
    return None

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
    (control, *_) = controls()
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
    (control, *_) = controls()
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
    with Pyfpm(POOLS, files={"attacks.py": ATTACKS}) as running:
        wait_until(lambda: workers_of(running, "bad", 2))
        yield running


def workers_of(fpm, pool, count=None):
    """Return the pids of a pool's workers, by what ps says; None where they are not `count`."""
    children = children_of(fpm.process.pid)
    found = sorted(pid for pid in children if f"pool {pool} worker" in title_of(pid))
    return found if count is None or len(found) == count else None


def busy_share(fpm, seconds):
    """Return which part of one core the master uses for so long."""
    process = psutil.Process(fpm.process.pid)
    before, began_s = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used / (time.monotonic() - began_s)


@pytest.fixture
def fpm(shared):
    """Before and after each attack: same master, same worker of the other pool, and both serve."""
    fpm = shared
    good = fpm.worker_pids("good")
    wait_until(lambda: workers_of(fpm, "bad", 2))
    yield fpm
    assert fpm.process.poll() is None
    assert fetch(fpm.address("good.sock"), "/pid").body == b"%d\n" % good[0]
    assert fpm.worker_pids("good") == good
    for pool in ("bad", "od"):
        address = fpm.address(f"{pool}.sock")
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
    fpm.log.wait_for(rf"\[pool {pool}\] a worker has shut the hand-off channel down", since=mark)
    wait_until(lambda: fpm.pool_status(pool)["generation"] == generation + 1)
    wait_until(lambda: fpm.pool_status(pool)["state"] == "running")
    assert fetch(fpm.address(f"{pool}.sock"), "/pid").status == 200
    assert busy_share(fpm, 1.0) < 0.5


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
        assert busy_share(fpm, 3.0) < 0.6
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


# Applications that make trouble in their zygote, or in each worker from its birth.

DRAINS = """\
import os, socket, threading, time

def announce():
    time.sleep(0.3)
    for name in os.listdir("/proc/self/fd"):
        try:
            one = socket.socket(fileno=os.dup(int(name)))
            if one.type == socket.SOCK_SEQPACKET and int(name) not in (8, 9):
                one.send(b'{"kind":"Draining","reason":"SIGTERM"}')
        except OSError:
            pass

os.register_at_fork(after_in_child=lambda: threading.Thread(target=announce, daemon=True).start())

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"x"]
"""

MORTAL = """\
import signal

signal.setitimer(signal.ITIMER_REAL, 0.1)  # a fork does not inherit it

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"x"]
"""

TALKER = """\
import json, os, socket

control = socket.socket(fileno=os.dup(3))
for kind, fields in %r:
    control.send(json.dumps({"kind": kind, **fields}).encode())
from torture import app
"""

ONE = """
[pool:bad]
app = made:app
listen = %(here)s/bad.sock
pm = PM
pm.max_children = 2

[pool:good]
app = torture:app
listen = %(here)s/good.sock
pm = static
pm.max_children = 1
"""


def one(manager, source, *, defaults="boot_timeout = 5s", **options):
    pools = ONE.replace("PM", manager)
    return Pyfpm(pools, defaults=defaults, files={"made.py": source}, **options)


def test_workers_that_say_they_drain_and_stay_do_not_fill_the_machine():
    """Twice pm.max_children and the surge of a reload are all that there will ever be."""
    with one("static", DRAINS) as fpm:
        wait_until(lambda: workers_of(fpm, "bad", 5), timeout_s=30)
        for _ in range(20):
            assert len(workers_of(fpm, "bad")) <= 5
            time.sleep(0.1)
        assert fetch(fpm.address("good.sock"), "/pid").status == 200


def test_zygote_that_dies_young_again_and_again_is_started_ever_later():
    """It was ready, so no boot has failed; but the master has better things to do than to fork."""
    with one("ondemand", MORTAL) as fpm:
        died = r"\[pool bad\] zygote \d+ exited on signal 14"
        wait_until(lambda: len(fpm.log.find(died)) >= 2, timeout_s=30)
        time.sleep(4)
        assert len(fpm.log.find(died)) <= 6
        assert fetch(fpm.address("good.sock"), "/pid").status == 200


def test_listener_that_a_worker_shut_down_is_made_anew_when_its_pool_is_started_again():
    """Until then the pool serves nobody, which is its own affair; the master has little to do."""
    source = ATTACKS + (
        "def shut_listener(query):\n"
        "    socket.socket(fileno=os.dup(LISTENER)).shutdown(socket.SHUT_RDWR)\n"
    )
    with one("dynamic", source) as fpm:
        assert fetch(fpm.address("bad.sock"), "/shut_listener").status == 200
        assert busy_share(fpm, 2.0) < 0.5
        assert fetch(fpm.address("good.sock"), "/pid").status == 200
        assert fpm.command("stop", "bad").returncode == 0
        assert fpm.command("start-pool", "bad").returncode == 0
        assert fetch(fpm.address("bad.sock"), "/pid").status == 200


GHOSTS = """\
import json, os, socket

control = socket.socket(fileno=os.dup(3))
ready = json.dumps({"kind": "Ready", "boot_s": 0.0, "preloaded": True, "reason": ""}).encode()
control.send(ready)
while True:
    order, descriptors, _, _ = socket.recv_fds(control, 65536, 8)
    if not order:
        break
    with socket.socket(fileno=descriptors[0]) as worker:
        worker.send(ready)
    for descriptor in descriptors[1:]:
        os.close(descriptor)
"""


def test_workers_that_a_zygote_makes_up_leave_nothing_behind():
    """They said that they are ready and hung up, and there never was a process."""
    with one("static", GHOSTS) as fpm:
        before = count_descriptors(fpm.process.pid)
        fpm.log.wait_for(r"\[pool bad\] boot failed.* of which the zygote has not said the pid")
        wait_until(lambda: fpm.pool_status("bad")["state"] == "degraded")
        wait_until(lambda: count_descriptors(fpm.process.pid) <= before)
        assert workers_of(fpm, "bad") == []
        assert fetch(fpm.address("good.sock"), "/pid").status == 200


READY = ("Ready", {"boot_s": 0.0, "preloaded": True, "reason": ""})


@pytest.mark.parametrize(
    "second",
    [
        READY,
        ("BootFailed", {"text": "a lie"}),
        ("UnsafePreload", {"reason": "a lie"}),
        ("Saturated", {"pending": 1}),
    ],
    ids=lambda message: message[0],
)
def test_zygote_that_says_what_it_may_not_is_killed(second):
    """Twice ready, failed after that, or the words of a worker."""
    with one("ondemand", TALKER % ([READY, second],), wait_ready=False) as fpm:
        fault = f"broke the rules of its control socket, and is killed: {second[0]} is not for"
        fpm.log.wait_for(rf"\[pool bad\] zygote \d+ {fault} a zygote to say now")
        wait_until(lambda: fetch(fpm.address("good.sock"), "/pid").status == 200)
        assert not fpm.log.find("a lie")


ENDLESS = """\
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/endless":
        time.sleep(3600)
    start_response("200 OK", [])
    return [b"x"]
"""


def test_pool_that_never_ends_its_drains_holds_up_no_reload_of_another():
    """Reloads come one after the other: one that gets no further makes way for the next."""
    with (
        one("static", ENDLESS, defaults="boot_timeout = 4s\nworker_hung_timeout = 0") as fpm,
        contextlib.ExitStack() as stack,
    ):
        fpm_bad = fpm.address("bad.sock")
        for _ in range(2):
            client = stack.enter_context(FcgiClient(fpm_bad, 60))
            client.send(encode_request(1, make_params("/endless")))
        wait_until(lambda: fpm.pool_status("bad")["active processes"] == 2)
        generation = fpm.pool_status("good")["generation"]
        first = fpm.command("reload")
        assert first.returncode == 0, first.stderr
        assert "drain without end" in first.stderr
        assert fpm.command("reload", "good").returncode == 0
        assert fpm.pool_status("good")["generation"] == generation + 2
        assert fetch(fpm_bad, "/").status == 200
        for pid in workers_of(fpm, "bad"):
            os.kill(pid, signal.SIGKILL)  # or its end would wait for process_control_timeout


def test_huge_traceback_is_a_bounded_number_of_lines_of_its_own_pool():
    """Line breaks alone, and lines that look like those of others."""
    forged = "[21-Nov-2030 10:00:00] NOTICE: [pool good] child 1 exited\n\x1b[2J\u2028\u202e"
    text = forged + "\n" * 8000 + "ImportError: the end"
    with one("ondemand", TALKER % ([("BootFailed", {"text": text})],)) as fpm:
        fpm.log.wait_for(r"\[pool bad\] ImportError: the end")
        lines = fpm.log.find(r"\[pool bad\]|2030|the end")
        assert 200 <= len(lines) < 250
        assert all("[pool bad] " in line[:60] for line in lines)
        assert "\x1b" not in fpm.log.text()
        status = fpm.command("status")
        assert status.returncode == 0
        assert "\x1b" not in status.stdout


def test_stopped_zygote_costs_its_own_pool_a_boot_timeout_and_no_more():
    """It is asked for a worker, does not answer, is killed, and another takes its place."""
    with one("static", "from torture import app\n") as fpm:
        zygote = fpm.zygote_pid("bad")
        os.kill(zygote, signal.SIGSTOP)
        with watching(zygote, *workers_of(fpm, "bad")) as ends:
            for pid in workers_of(fpm, "bad"):
                os.kill(pid, signal.SIGKILL)
            assert fetch(fpm.address("good.sock"), "/pid").status == 200
            ends.wait()
        wait_until(lambda: workers_of(fpm, "bad", 2), timeout_s=30)
        assert fetch(fpm.address("bad.sock"), "/pid").status == 200


def test_stopped_zygote_does_not_keep_its_pool_from_a_reload():
    """The new generation has a zygote of its own; the old one is killed in the end."""
    with one("static", "from torture import app\n") as fpm:
        zygote = fpm.zygote_pid("bad")
        os.kill(zygote, signal.SIGSTOP)
        with watching(zygote) as ends:
            assert fpm.command("reload", "bad").returncode == 0
            ends.wait()
        assert fetch(fpm.address("bad.sock"), "/pid").status == 200
