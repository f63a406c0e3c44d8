"""Growth, shrinking and failed boots by the clock; see test_process_managers for the numbers."""

import os
import re
import resource
import signal
import threading
import time
from contextlib import ExitStack
from itertools import pairwise

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_request

SLOW = encode_request(1, make_params("/sleep?s=1.5"))


def pool_text(pm, *lines, name="one", app="torture"):
    more = "\n".join(lines)
    return f"[pool:{name}]\napp = {app}:app\nlisten = %(here)s/{name}.sock\npm = {pm}\n{more}\n"


def total(fpm, pool="one"):
    return fpm.pool_status(pool)["total processes"]


@pytest.mark.parametrize("pm", ["dynamic", "ondemand"])
def test_saturated_pool_grows_to_its_limit_within_a_second_and_not_beyond(pm):
    """Seven slow requests at once and room for five: five run at once, two wait their turn."""
    lines = ["pm.max_children = 5"]
    if pm == "dynamic":
        lines += [f"pm.{name}_servers = 1" for name in ("start", "min_spare", "max_spare")]
    with Pyfpm(pool_text(pm, *lines)) as fpm, ExitStack() as stack:
        address = fpm.address("one.sock")
        started_s = time.monotonic()
        clients = [stack.enter_context(FcgiClient(address)) for _ in range(7)]
        for client in clients:
            client.send(SLOW)
        wait_until(lambda: fpm.pool_status("one")["active processes"] == 5, timeout_s=2)
        assert time.monotonic() - started_s < 1.2
        assert total(fpm) == 5
        # Two of seven have no worker to go to; at that moment one of them may have been accepted by
        # a worker that has been given work since, and is not in the queue.
        waiting = "(?:1 connection waits|2 connections wait)"
        fpm.log.wait_for(rf"\[pool one\] reached pm.max_children \(5\); {waiting}: raise it")
        assert all(client.response().status == 200 for client in clients)
        assert fpm.pool_status("one")["max children reached"] == 1
        assert total(fpm) == 5


def test_dynamic_pool_shrinks_one_by_one_and_loses_no_request():
    """From six workers to two while kept and closed connections go on; every one answered."""
    lines = ["pm.max_children = 6", "pm.start_servers = 1"]
    lines += ["pm.min_spare_servers = 1", "pm.max_spare_servers = 2"]
    with Pyfpm(pool_text("dynamic", *lines)) as fpm, ExitStack() as stack:
        address = fpm.address("one.sock")
        clients = [stack.enter_context(FcgiClient(address)) for _ in range(6)]
        for client in clients:
            client.send(encode_request(1, make_params("/sleep?s=0.5"), keep_conn=True))
        assert all(client.response().status == 200 for client in clients)
        assert total(fpm) == 6
        statuses, counts, done = [], [], threading.Event()

        def ask():
            while not done.wait(0.01):
                statuses.append(fetch(address, "/pid").status)
                for client in clients:
                    response = client.request("/echo", method="POST", body=b"x", keep=True)
                    statuses.append(response.status)

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            wait_until(lambda: counts.append(total(fpm)) or counts[-1] <= 3, timeout_s=15)
        finally:
            done.set()
            asker.join()
        assert set(statuses) == {200}
        assert len(statuses) > 100
        # Draining workers count as active until they have gone, so a step may show late.
        assert all(before - after <= 1 for before, after in pairwise(counts))
        assert fpm.pool_status("one")["recycles"]["idle"] >= 3


def test_ondemand_pool_makes_one_worker_for_one_request():
    """From none to one, from one to two for two requests at once, to none again."""
    lines = ["pm.max_children = 8", "pm.process_idle_timeout = 400ms"]
    with Pyfpm(pool_text("ondemand", *lines)) as fpm:
        address = fpm.address("one.sock")
        for _ in range(2):
            assert total(fpm) == 0
            assert fetch(address, "/pid").status == 200
            assert total(fpm) == 1
            with FcgiClient(address) as first, FcgiClient(address) as second:
                first.send(SLOW)
                wait_until(lambda: fpm.pool_status("one")["active processes"] == 1)
                second.send(SLOW)
                wait_until(lambda: fpm.pool_status("one")["active processes"] == 2)
                # Growth doubles while somebody waits: at most twice as many as needed, and there
                # would be room for eight.
                assert 2 <= total(fpm) <= 4
                assert first.response().status == second.response().status == 200
            wait_until(lambda: total(fpm) == 0, timeout_s=3)
        assert not fpm.log.find("WARNING|ALERT|ERROR")


def test_worker_with_all_its_connections_taken_accepts_no_more():
    """pm.max_connections: the third waits in the backlog until one of the first two is closed."""
    lines = ["pm.max_children = 1", "pm.max_connections = 2"]
    with Pyfpm(pool_text("static", *lines)) as fpm:
        address = fpm.address("one.sock")
        with FcgiClient(address) as first, FcgiClient(address) as second:
            assert first.request("/pid", keep=True).complete
            assert second.request("/pid", keep=True).complete
            with FcgiClient(address, timeout_s=5) as third:
                third.send(encode_request(1, make_params("/pid")))
                assert not third.is_closed_by_peer(0.3)
                assert fpm.pool_status("one")["listen queue"] == 1
                assert second.request("/pid", keep=True).complete
                first.close()
                third.socket.settimeout(5)
                assert third.response().status == 200


def test_second_worker_takes_what_a_full_one_leaves():
    """The connections of a pool are the sum over its workers."""
    lines = ["pm.max_children = 2", "pm.max_connections = 2"]
    with Pyfpm(pool_text("static", *lines)) as fpm, ExitStack() as stack:
        wait_until(lambda: total(fpm) == 2)
        clients = [stack.enter_context(FcgiClient(fpm.address("one.sock"))) for _ in range(4)]
        for client in clients:
            assert client.request("/pid", keep=True).status == 200
        # A connection is parked when its response has left.
        wait_until(lambda: fpm.pool_status("one")["parked connections"] == 4)


def test_failed_boots_back_off_and_recover_without_a_restart():
    """100 ms, 200, 400 …; the other pool is not slowed, and the repaired module serves."""
    pools = pool_text("static", "pm.max_children = 2", name="bad", app="later")
    pools += pool_text("static", "pm.max_children = 1", name="good")
    with Pyfpm(pools, main="log_level = debug", files={"later.py": "raise OSError('no')\n"}) as fpm:
        wait_until(lambda: len(fpm.log.find("boot failed")) >= 4, timeout_s=10)
        lines = fpm.log.find(r"\[pool bad\] boot failed")
        waits = [float(re.search(r"next try in ([\d.]+) s", line)[1]) for line in lines]
        assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
        moments = [
            float(re.search(r":(\d\d\.\d{6})\] DEBUG", line)[1])
            for line in fpm.log.find(r"DEBUG: \[pool bad\] zygote \d+ started")
        ]
        gaps = [(later - sooner) % 60 for sooner, later in pairwise(moments)]
        assert all(gap >= wait for gap, wait in zip(gaps, waits, strict=False))
        assert len(fpm.log.find("Traceback")) == 1  # the same failure again is one line
        status = fpm.pool_status("bad")
        assert status["state"] == "degraded"
        assert "later:app" in status["reason"]
        assert fpm.pool_status("good")["state"] == "running"
        assert fetch(fpm.address("good.sock"), "/pid").status == 200
        with FcgiClient(fpm.address("bad.sock")) as client:
            client.send(encode_request(1, make_params("/pid")))
            (fpm.app / "later.py").write_text("from torture import app\n")
            assert client.response().status == 200  # it waited for the pool to come back
        assert fpm.pool_status("bad")["state"] == "running"
        wait_until(lambda: total(fpm, "bad") == 2)


def test_worker_that_died_after_it_served_is_replaced_without_a_pause():
    """Only boots back off: a crash loop of requests is bounded by the spawn rate alone."""
    with Pyfpm(pool_text("static", "pm.max_children = 1")) as fpm:
        started_s = time.monotonic()
        for _ in range(6):
            pid = int(fetch(fpm.address("one.sock"), "/pid").body)
            os.kill(pid, signal.SIGKILL)
            fpm.log.wait_for(f"child {pid} exited")
        assert fetch(fpm.address("one.sock"), "/pid").status == 200
        assert time.monotonic() - started_s < 3
        assert fpm.pool_status("one")["respawns"]["killed"] == 6
        assert fpm.pool_status("one")["state"] == "running"


def file_limit(pid):
    """The soft limit of open files of a process."""
    with open(f"/proc/{pid}/limits", encoding="ascii") as limits:
        return int(next(line.split()[3] for line in limits if line.startswith("Max open files")))


@pytest.mark.parametrize("wanted", [700, 900])
def test_rlimit_files_is_the_masters_limit_and_not_the_workers(wanted):
    """The master has what the key says; its pools have what the master was started with."""
    pool = """
[pool:a]
app = torture:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 1
"""
    with Pyfpm(pool, main=f"rlimit_files = {wanted}") as fpm:
        (worker,) = fpm.worker_pids("a")
        assert file_limit(fpm.process.pid) == wanted
        assert file_limit(worker) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_rlimit_files_beyond_what_is_permitted_is_said_and_survived():
    """Nobody may have more descriptors than the kernel's own bound."""
    pool = "[pool:a]\napp = torture:app\nlisten = %(here)s/a.sock\npm = ondemand\n"
    with Pyfpm(pool, main="rlimit_files = 999999999999") as fpm:
        assert fpm.log.find("rlimit_files = 999999999999: not permitted")
        assert fetch(fpm.address("a.sock"), "/pid").status == 200
