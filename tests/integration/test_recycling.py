"""Planned replacement of workers: the new one first, and nobody notices."""

import collections
import threading
import time

import psutil
import pytest
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.posts import Posts
from harness.processes import children_of, title_of

POOL = """\
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
pm = {pm}
pm.max_children = {children}
"""
HOARDER = """\
kept = []
def app(environ, start_response):
    if environ["PATH_INFO"] == "/hoard":
        kept.append(bytearray(b"x" * 64 * 1024 * 1024))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]
"""


def shop(*lines, pm="static", children=2, **options):
    return Pyfpm(POOL.format(pm=pm, children=children) + "\n".join(lines), **options)


def generations(master):
    return {p["generation"] for p in master.pool_status("shop", full=True)["processes"]}


@pytest.mark.parametrize("pm", ["static", "dynamic", "ondemand"])
def test_workers_are_replaced_after_their_requests_and_none_is_lost(pm):
    """On kept POSTs, with every process manager, hundreds of replacements."""
    with shop("pm.max_requests = 20", pm=pm, children=3) as master:
        address = master.address("shop.sock")
        with Posts(address, "/echo") as one, Posts(address, "/echo") as two:
            wait_until(
                lambda: master.pool_status("shop")["recycles"]["max_requests"] > 60, timeout_s=40
            )
        assert one.failures == two.failures == []
        status = master.wait_accepted("shop", one.count + two.count)
        assert status["respawns"] == {"crash": 0, "exit": 0, "hung": 0, "killed": 0}
        # It is asked for a little before the limit, and the worker serves until it is replaced.
        assert status["recycles"]["max_requests"] <= status["accepted conn"] / 17


def test_capacity_never_dips_while_the_only_worker_is_replaced():
    """The new one is ready before the old one goes, also where it boots slowly."""
    slow = "import time\ntime.sleep(0.5)\nfrom torture import app\n"
    pool = POOL.format(pm="static", children=1).replace("torture:app", "slow:app")
    with Pyfpm(pool + "preload = off\npm.max_requests = 5\n", files={"slow.py": slow}) as master:
        latencies = []
        with master.client("shop.sock") as client:
            for _ in range(300):
                started_s = time.monotonic()
                assert client.request("/pid", keep=True).complete
                latencies.append(time.monotonic() - started_s)
                time.sleep(0.005)
        assert master.pool_status("shop")["recycles"]["max_requests"] >= 2
        # A request that had to wait for a boot would have taken half a second.
        assert sum(latency > 0.4 for latency in latencies) == 0


def test_worker_is_replaced_at_its_age():
    """Idle ones too; and not all at the same moment."""
    with shop("pm.max_lifetime = 2s", "pm.max_requests_jitter = 50%", children=4) as master:
        wait_until(lambda: len(master.worker_pids("shop")) == 4)
        old = set(master.worker_pids("shop"))
        wait_until(lambda: not old & set(master.worker_pids("shop")), timeout_s=15)
        assert master.pool_status("shop")["recycles"]["max_lifetime"] >= 4
        assert len(master.worker_pids("shop")) >= 4


def test_worker_with_too_much_memory_is_replaced_after_its_request():
    """The answer arrives, and the next request meets a worker without the burden."""
    pool = POOL.format(pm="static", children=1).replace("torture:app", "hoarder:app")
    with Pyfpm(pool + "pm.max_memory = 60M\n", files={"hoarder.py": HOARDER}) as master:
        (old,) = master.worker_pids("shop")
        with master.client("shop.sock") as client:
            assert client.request("/hoard", keep=True).body == b"fine"
            wait_until(lambda: old not in master.worker_pids("shop"))
            assert client.request("/", keep=True).body == b"fine"
        assert master.pool_status("shop")["recycles"]["max_memory"] == 1


def test_recycle_is_put_off_where_there_is_no_room():
    """process.max counts everybody: the worker serves on, and goes when there is room.

    When the others sleep there are two places, and the last one stays theirs.
    """
    pools = POOL.format(pm="static", children=1) + "pm.max_requests = 3\n"
    for name in ("blog", "wiki"):
        pools += f"[pool:{name}]\napp = hello:app\nlisten = %(here)s/{name}.sock\npm = ondemand\n"
        pools += "pm.max_children = 1\npm.process_idle_timeout = 1s\n"
    with Pyfpm(pools, main="process.max = 3") as master:
        with master.client("blog.sock") as blog, master.client("wiki.sock") as wiki:
            blog.request("/", keep=True)
            wiki.request("/", keep=True)
            (old,) = master.worker_pids("shop")
            with master.client("shop.sock") as client:
                pids = {int(client.request("/pid", keep=True).body) for _ in range(20)}
                assert pids == {old}
            wait_until(lambda: old not in master.worker_pids("shop"))
        assert master.pool_status("shop")["recycles"]["max_requests"] == 1


def test_number_of_processes_stays_within_the_surge():
    """Hundreds of recycles, and never more than pm.max_children + pm.reload_surge."""
    with shop("pm.max_requests = 10", "pm.reload_surge = 1", children=3) as master:
        counts = collections.Counter()
        with (
            Posts(master.address("shop.sock"), "/echo"),
            Posts(master.address("shop.sock"), "/echo"),
        ):
            while master.pool_status("shop")["recycles"]["max_requests"] < 50:
                names = [title_of(pid) for pid in children_of(master.process.pid)]
                counts[sum("worker" in name for name in names)] += 1
        assert max(counts) <= 4


def test_drain_timeout_ends_a_worker_that_does_not_finish():
    """SIGTERM first, and a second later the end; the log says whose limit it was."""
    with shop("pm.drain_timeout = 1s") as master:
        wait_until(lambda: len(master.worker_pids("shop")) == 2)
        with master.client("shop.sock") as slow:
            thread = threading.Thread(target=slow.request, args=("/sleep?s=30",), daemon=True)
            thread.start()
            wait_until(lambda: master.pool_status("shop")["active processes"] == 1)
            master.control("reload")
            master.log.wait_for(r"still drains after pm.drain_timeout \(1 s\)", timeout_s=5)
            thread.join(5)
            assert not thread.is_alive()
        wait_until(
            lambda: (
                {p["generation"] for p in master.pool_status("shop", full=True)["processes"]} == {2}
            )
        )


def test_replaced_workers_leave_no_memory_behind_in_the_master():
    """Descriptors of the master are as many after a thousand replacements as before."""
    with shop("pm.max_requests = 2", children=2) as master:
        with Posts(master.address("shop.sock"), "/echo"):
            wait_until(lambda: master.pool_status("shop")["recycles"]["max_requests"] > 20)
            before = psutil.Process(master.process.pid).num_fds()
            wait_until(
                lambda: master.pool_status("shop")["recycles"]["max_requests"] > 300, timeout_s=40
            )
            after = psutil.Process(master.process.pid).num_fds()
        assert abs(after - before) < 20
