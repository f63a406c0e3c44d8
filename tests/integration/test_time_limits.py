"""The ladder of time limits against requests that are stuck, and workers that hang."""

import json
import os
import re
import signal
import time

import pytest
from harness.fcgi_client import fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_request

STUCK = """\
import collections
import itertools
import threading
import time

import torture


def stuck_in_sleep():
    time.sleep(60)


def stuck_in_loop():
    while True:
        pass


def stuck_in_c():
    # No signal handler of Python runs before this has ended, which it never does.
    collections.deque(itertools.repeat(0), maxlen=0)


def stuck_in_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def stuck_for_good():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


def stuck_with_memory():
    block = bytearray(100 << 20)
    time.sleep(60)
    return block


def app(environ, start_response):
    name = environ["PATH_INFO"].lstrip("/")
    if name.startswith("stuck"):
        globals()[name]()
    return torture.app(environ, start_response)
"""

POOL = """
[pool:shop]
app = stuck:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = {most}
{more}
"""
LIMITS = (
    "slowlog = %(here)s/slow.log",
    "request_slowlog_timeout = 300ms",
    "request_terminate_timeout = 1s",
    "request_terminate_grace = 500ms",
)


def serve(*more, most=1, main=""):
    """Start a pool of the stuck application with these options."""
    pools = POOL.format(more="\n".join(more), most=most)
    return Pyfpm(pools, files={"stuck.py": STUCK}, main=main)


def wait_for_entry(fpm, name="stuck", timeout_s=3.0):
    """Return the slow log once it names the function; the master writes it with one write."""
    path = fpm.folder / "slow.log"
    return wait_until(lambda: name in path.read_text() and path.read_text(), timeout_s=timeout_s)


def ask(client, path):
    """Send a request, and return its response with the seconds that it took."""
    started_s = time.monotonic()
    client.send(encode_request(1, make_params(path)))
    response = client.response()
    return response, time.monotonic() - started_s


@pytest.mark.parametrize("stuck", ["stuck_in_sleep", "stuck_in_loop", "stuck_in_lock"])
def test_stuck_request_is_logged_with_its_stack_and_answered_with_504(stuck):
    """The slow log names the guilty function, and the client waits no longer than the limit."""
    with serve(*LIMITS) as fpm:
        with fpm.client("shop.sock") as client:
            response, took_s = ask(client, f"/{stuck}?x=1")
        assert response.status == 504
        assert 1.0 <= took_s < 2.0
        entry = wait_for_entry(fpm, stuck)
        pid = int(re.search(r"^\[.*\]  \[pool shop\] pid (\d+)$", entry, re.MULTILINE)[1])
        assert re.search(rf"^request = GET /{stuck}\?x=1$", entry, re.MULTILINE)
        assert 0.3 <= float(re.search(r"^seconds = (.*)$", entry, re.MULTILINE)[1]) < 1.0
        assert re.search(
            rf"^  {stuck}\(\) {re.escape(str(fpm.app))}/stuck.py:\d+$", entry, re.MULTILINE
        )
        assert entry.index("main thread") < entry.index(" app() ") < entry.index(f"  {stuck}()")
        fpm.log.wait_for(
            rf"WARNING: \[pool shop\] child {pid}, GET /{stuck}\?x=1: "
            r"executing too slow \(1\.\d s\): interrupting"
        )
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200


@pytest.mark.parametrize("stuck", ["stuck_in_c", "stuck_for_good"])
def test_request_that_cannot_be_interrupted_costs_its_worker(stuck):
    """The slow log names the function all the same; after the grace another worker serves."""
    with serve(*LIMITS) as fpm:
        (pid,) = wait_until(lambda: fpm.worker_pids("shop"))
        with fpm.client("shop.sock") as client:
            response, took_s = ask(client, f"/{stuck}")
        assert not response.complete
        assert 1.5 <= took_s < 2.5
        assert f"  {stuck}()" in wait_for_entry(fpm, stuck)
        fpm.log.wait_for(rf"child {pid}, GET /{stuck}: does not end \(\d\.\d s\): killed")
        fpm.log.wait_for(rf"child {pid} exited on signal 9")
        answer = fetch(fpm.address("shop.sock"), "/pid")
        assert (answer.status, int(answer.body) != pid) == (200, True)
        assert fpm.pool_status("shop")["terminated requests"] == 1


def test_without_a_slow_log_limit_an_interrupted_request_is_still_explained():
    """Where it was stuck is in the error log: nobody should have to wait for the next time."""
    with serve("request_terminate_timeout = 500ms") as fpm:
        assert fetch(fpm.address("shop.sock"), "/stuck_in_sleep").status == 504
        fpm.log.wait_for(r"WARNING: \[pool shop\]   stuck_in_sleep\(\) .*/stuck.py:\d+$")
        assert fpm.pool_status("shop")["slow requests"] == 0


def test_slow_request_that_is_not_limited_goes_on():
    """The slow log watches, and nothing else."""
    with serve(*LIMITS[:2]) as fpm:
        assert fetch(fpm.address("shop.sock"), "/sleep?s=0.7").status == 200
        assert wait_for_entry(fpm, "GET /sleep").count("request = ") == 1
        assert fpm.pool_status("shop")["slow requests"] == 1


def test_json_slow_log_has_one_object_for_each_entry():
    """log_format counts for it as for the error log."""
    with serve(*LIMITS[:2], main="log_format = json") as fpm:
        assert fetch(fpm.address("shop.sock"), "/sleep?s=0.6").status == 200
        entry = json.loads(wait_for_entry(fpm, "GET /sleep"))
        assert (entry["pool"], entry["event"]) == ("shop", "slow_request")
        assert entry["stacks"][0].startswith("main thread")


def test_rotated_slow_log_goes_on_under_its_name_after_usr1():
    """As the error log does."""
    with serve(*LIMITS[:2]) as fpm:
        path = fpm.folder / "slow.log"
        path.rename(fpm.folder / "slow.log.1")
        os.kill(fpm.process.pid, signal.SIGUSR1)
        wait_until(path.exists)
        assert fetch(fpm.address("shop.sock"), "/sleep?s=0.6").status == 200
        wait_for_entry(fpm, "GET /sleep")
        assert (fpm.folder / "slow.log.1").read_text() == ""


def test_idle_worker_that_is_stopped_is_killed_and_replaced():
    """It does not react to a poke; the others do, and live."""
    with serve("worker_hung_timeout = 500ms", most=2) as fpm:
        stopped, other = wait_until(
            lambda: len(fpm.worker_pids("shop")) == 2 and fpm.worker_pids("shop")
        )
        os.kill(stopped, signal.SIGSTOP)
        fpm.log.wait_for(rf"child {stopped} hangs: no reaction for \d s: killed", timeout_s=4)
        fpm.log.wait_for(rf"child {stopped} exited on signal 9")
        wait_until(lambda: fpm.pool_status("shop")["idle processes"] == 2)
        assert other in fpm.worker_pids("shop")
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200


def test_pokes_do_not_keep_an_idle_worker_alive():
    """They must not look like work: the pool still gets smaller."""
    more = "worker_hung_timeout = 200ms", "pm.process_idle_timeout = 1s"
    pools = POOL.format(more="\n".join(more), most=2).replace("static", "ondemand")
    with Pyfpm(pools, files={"stuck.py": STUCK}) as fpm:
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
        wait_until(lambda: not fpm.worker_pids("shop"), timeout_s=4)


def test_worker_above_the_hard_memory_limit_is_killed_in_its_request():
    """Before the machine runs out of memory, and the log says whose request it was."""
    with serve("pm.max_memory_hard = 80M") as fpm:
        (pid,) = wait_until(lambda: fpm.worker_pids("shop"))
        with fpm.client("shop.sock") as client:
            response, took_s = ask(client, "/stuck_with_memory")
        assert not response.complete
        assert took_s < 2
        fpm.log.wait_for(
            rf"child {pid}, GET /stuck_with_memory: \d+\.\d MiB of resident memory are more "
            r"than pm.max_memory_hard \(80\.0 MiB\): killed"
        )
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
