"""Applications that make trouble in their zygote, or in each worker from its birth."""

import contextlib
import os
import signal
import time

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.hostile_app import CONTROLS, GOOD, beside_good, pool, workers_of
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import count_descriptors, watching

from pyfpm.fastcgi import encode_request

DRAINS = """\
import threading, time

def announce():
    time.sleep(0.3)
    for control in controls():
        try:
            control.send(b'{"kind":"Draining","reason":"SIGTERM"}')
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


def test_workers_that_say_they_drain_and_stay_do_not_fill_the_machine():
    """Twice pm.max_children and the surge of a reload are all that there will ever be."""
    with beside_good("static", CONTROLS + DRAINS) as fpm:
        wait_until(lambda: workers_of(fpm, "bad", 5), timeout_s=30)
        for _ in range(20):
            assert len(workers_of(fpm, "bad")) <= 5
            time.sleep(0.1)
        assert fetch(fpm.address("good.sock"), "/pid").status == 200


def test_zygote_that_dies_young_again_and_again_is_started_ever_later():
    """It was ready, so no boot has failed; but the master has better things to do than to fork."""
    with beside_good("ondemand", MORTAL) as fpm:
        died = r"\[pool bad\] zygote \d+ exited on signal 14"
        wait_until(lambda: len(fpm.log.find(died)) >= 2, timeout_s=30)
        time.sleep(4)
        assert len(fpm.log.find(died)) <= 6
        assert fetch(fpm.address("good.sock"), "/pid").status == 200


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
    with beside_good("static", GHOSTS) as fpm:
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
    with beside_good("ondemand", TALKER % ([READY, second],), wait_ready=False) as fpm:
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
        beside_good(
            "static", ENDLESS, defaults="boot_timeout = 4s\nworker_hung_timeout = 0"
        ) as fpm,
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
    with beside_good("ondemand", TALKER % ([("BootFailed", {"text": text})],)) as fpm:
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
    with beside_good("static", "from torture import app\n") as fpm:
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
    with beside_good("static", "from torture import app\n") as fpm:
        zygote = fpm.zygote_pid("bad")
        os.kill(zygote, signal.SIGSTOP)
        with watching(zygote) as ends:
            assert fpm.command("reload", "bad").returncode == 0
            ends.wait()
        assert fetch(fpm.address("bad.sock"), "/pid").status == 200


LYING = """\
import json, os, socket, sys, time

# In the zygote, at its import: speaks to the master in its place.
control = socket.socket(fileno=os.dup(3))
CLAIMS = open(os.path.join(os.path.dirname(__file__), "claims")).read().split()

def tell(kind, **fields):
    control.send(json.dumps({"kind": kind, **fields}).encode())

tell("Spawned", serial=1, pid=1)  # nobody has asked for one
tell("Ready", boot_s=0.0, preloaded=True, reason="")
for claim in CLAIMS + ["0", "-1", str(2**70), str(os.getpid())]:
    data = control.recv(65536)
    if not data:
        break
    order = json.loads(data)
    tell("Spawned", serial=order["serial"], pid=int(claim))
    tell("Spawned", serial=order["serial"], pid=int(claim))
while control.recv(65536):
    pass
"""


def test_zygote_that_claims_foreign_processes_gets_none_of_them():
    """The master's own pid, init, another pool's worker and zygote: each claim is refused."""
    pools = pool("od", app="torture:app", pm="dynamic", most=1) + GOOD
    pools += "[pool:liar]\napp = lying:app\nlisten = %(here)s/liar.sock\npm = ondemand\n"
    with Pyfpm(pools, files={"lying.py": "from torture import app\n"}) as fpm:
        wait_until(lambda: fpm.worker_pids("od") and fpm.worker_pids("good"))
        victims = [*fpm.worker_pids("od"), *fpm.worker_pids("good"), fpm.zygote_pid("good")]
        claims = [1, fpm.process.pid, os.getpid(), *victims]
        (fpm.app / "claims").write_text(" ".join(map(str, claims)))
        (fpm.app / "lying.py").write_text(LYING)
        zygote = wait_until(lambda: fpm.zygote_pid("liar"))
        with watching(*victims) as ends:
            with watching(zygote) as old:
                os.kill(zygote, 9)
                old.wait()
            with FcgiClient(fpm.address("liar.sock")) as client:
                client.send(b"\x01")  # somebody waits: a worker is wanted
                for claim in claims:
                    fpm.log.wait_for(
                        rf"\[pool liar\] the zygote claims pid {claim}, which is no new"
                    )
            assert not ends.ended()
            assert fetch(fpm.address("good.sock"), "/pid").status == 200
            assert fpm.pool_status("liar")["total processes"] == 0
            assert not ends.ended()


TWO_TONGUED = """\
import os, socket
import pyfpm.runtime.orders as orders
import pyfpm.runtime.zygote as zygote
from pyfpm.messages import Spawned, SpawnFailed

honest = zygote.Zygote._tell

def tell(self, message):
    honest(self, message)
    if isinstance(message, Spawned):
        honest(self, SpawnFailed(message.serial, "a lie"))

zygote.Zygote._tell = tell
heed = orders.Orders.take

def take(self):
    try:
        return heed(self)
    except EOFError:
        return None  # a worker that stays when its master hangs up

orders.Orders.take = take
from torture import app
"""


def test_worker_whose_zygote_takes_it_back_is_not_lost_sight_of():
    """It would be no worker of anybody's: without limits, and there after its pool has ended."""
    with Pyfpm(pool("bad", most=1) + GOOD, files={"hostile.py": TWO_TONGUED}) as fpm:
        fault = "is killed: SpawnFailed is not for a zygote to say now"
        fpm.log.wait_for(rf"\[pool bad\] zygote \d+ broke the rules .*{fault}")
        (worker,) = wait_until(lambda: fpm.worker_pids("bad"))
        assert workers_of(fpm, "bad") == [worker]
        for name in ("bad", "good"):
            assert fetch(fpm.address(f"{name}.sock"), "/pid").status == 200
        with watching(worker) as ends:
            assert fpm.command("stop", "bad", "--now").returncode == 0
            ends.wait()
