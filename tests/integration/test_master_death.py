"""kill -9 to the master: nothing may stay behind, and no running request is lost."""

import signal
import time

import psutil
import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import children_of, title_of, watching

from pyfpm.fastcgi import encode_request

POOLS = """
[pool:a]
app = dying:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 3

[pool:b]
app = dying:app
listen = %(here)s/b.sock
pm = ondemand
pm.max_children = 2

[pool:c]
app = {slow}:app
listen = %(here)s/c.sock
pm = static
pm.max_children = 1
preload = {preload}
"""

FILES = {
    "dying.py": """\
import os, signal, threading, time
import torture

def app(environ, start_response):
    if environ["PATH_INFO"] == "/deaf":
        # An application with a handler of its own for the signals that mean drain.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        signal.signal(signal.SIGQUIT, lambda number, frame: None)
    return torture.app(environ, start_response)
""",
    "slow_import.py": "import time\ntime.sleep(60)\nfrom torture import app\n",
    "threaded.py": """\
import threading, time
from torture import app
threading.Thread(target=time.sleep, args=(60,)).start()
""",
}


def started(slow="torture", preload="auto", main="", **options):
    pools = POOLS.format(slow=slow, preload=preload)
    return Pyfpm(pools, files=FILES, main=main, **options)


def family_of(fpm):
    """Return every process of the service but the master, and but those that start others."""
    wait_until(lambda: len(fpm.worker_pids("a")) == 3)
    looks = [[]]

    def settled():
        children = psutil.Process(fpm.process.pid).children(recursive=True)
        looks.append(sorted(process.pid for process in children))
        return looks[-1] if looks[-1] == looks[-2] else None

    return wait_until(settled, interval_s=0.1)


def test_idle_workers_and_zygotes_are_gone_within_a_second():
    """Parked connections and all: whoever has nothing to do goes at once."""
    with started() as fpm, FcgiClient(fpm.address("a.sock")) as kept:
        assert kept.request("/pid", keep=True).complete
        assert fetch(fpm.address("b.sock"), "/pid").status == 200
        wait_until(lambda: len(fpm.worker_pids("a")) == 3)
        family = family_of(fpm)
        titles = sorted(title_of(pid) for pid in family)
        assert [title for title in titles if "zygote" in title] == [
            f"pyfpm: pool {name} zygote" for name in "abc"
        ]
        assert len(family) == 3 + 3 + 1 + 1
        with watching(*family) as ends:
            fpm.kill()
            ends.wait(timeout_s=1)
        assert kept.is_closed_by_peer()


def test_busy_worker_finishes_its_request_and_goes():
    """The request that runs is answered to its last byte; the idle ones do not wait for it."""
    with started() as fpm, FcgiClient(fpm.address("a.sock")) as client:
        wait_until(lambda: len(fpm.worker_pids("a")) == 3)
        client.send(encode_request(1, make_params("/sleep?s=1.5"), keep_conn=True))
        busy = wait_until(lambda: busy_workers(fpm))
        family = family_of(fpm)
        with watching(*family) as ends:
            fpm.kill()
            ends.wait(1, [pid for pid in family if pid not in busy])
            assert not ends.ended() & set(busy)
            response = client.response()
            assert response.complete
            assert response.body == b"%d\n" % busy[0]
            ends.wait(1)
        assert client.is_closed_by_peer()


def test_request_that_does_not_end_is_ended_after_process_control_timeout():
    """Nobody else would end it."""
    with (
        started(main="process_control_timeout = 700ms") as fpm,
        FcgiClient(fpm.address("a.sock")) as client,
    ):
        client.send(encode_request(1, make_params("/sleep?s=30"), keep_conn=True))
        pid = wait_until(lambda: busy_workers(fpm))[0]
        with watching(pid) as ends:
            fpm.kill()
            ends.wait(3)
        assert not client.response().complete


def test_application_with_its_own_handler_for_term_finishes_and_goes():
    """It does not hear the kernel's signal, but sees its master gone when the request is over."""
    with started() as fpm, FcgiClient(fpm.address("c.sock")) as client:
        assert client.request("/deaf", keep=True).status == 404
        worker = worker_of(fpm, "c")
        client.send(encode_request(1, make_params("/sleep?s=0.5"), keep_conn=True))
        wait_until(lambda: fpm.pool_status("c")["active processes"])
        with watching(worker) as ends:
            fpm.kill()
            assert client.response().complete
            ends.wait(1)


@pytest.mark.parametrize("preload", ["on", "off"])
def test_master_that_dies_while_an_import_runs_leaves_nothing(preload):
    """A zygote or worker in the middle of its import ends too."""
    main = "process_control_timeout = 500ms"
    with started("slow_import", preload, main, wait_ready=False) as fpm:
        fpm.log.wait_for("fpm is running")
        wait_until((fpm.folder / "control.sock").exists)
        wait_until(lambda: fpm.pool_status("a")["idle processes"] == 3)
        # Its title says that it is past the exec, and on its way into the import.
        wait_until(lambda: fpm.zygote_pid("c"))
        if preload == "off":
            wait_until(lambda: worker_of(fpm, "c"))
        family = family_of(fpm)
        with watching(*family) as ends:
            fpm.kill()
            ends.wait(3)


def test_zygote_whose_import_left_a_thread_goes_too():
    """preload = on keeps a thread alive in the zygote; the process must not wait for it."""
    with started("threaded", "on") as fpm:
        family = family_of(fpm)
        with watching(*family) as ends:
            fpm.kill()
            ends.wait(1)


def test_new_master_takes_over_what_the_dead_one_left():
    """Socket files, pid file and control socket of a killed master are stale, not in the way."""
    with started() as fpm:
        family = family_of(fpm)
        first = fpm.process.pid
        with watching(*family) as ends:
            fpm.kill()
            ends.wait(1)
        assert (fpm.folder / "a.sock").exists()
        assert (fpm.folder / "pyfpm.pid").read_text() == f"{first}\n"
        fpm._start()
        fpm._killed = False
        assert (fpm.folder / "pyfpm.pid").read_text() == f"{fpm.process.pid}\n"
        assert fetch(fpm.address("a.sock"), "/pid").status == 200
        assert fpm.control("status")["pyfpm"]["pid"] == fpm.process.pid


def test_second_stop_signal_ends_a_service_at_once():
    """The first TERM waits for the request, the second does not; nothing is left either way."""
    with started() as fpm, FcgiClient(fpm.address("a.sock")) as client:
        client.send(encode_request(1, make_params("/sleep?s=30")))
        wait_until(lambda: busy_workers(fpm))
        family = family_of(fpm)
        with watching(*family) as ends:
            fpm.process.send_signal(signal.SIGTERM)
            fpm.log.wait_for("SIGTERM: finishing")
            started_s = time.monotonic()
            assert fpm.stop(signal.SIGTERM, timeout_s=5) == 0
            assert time.monotonic() - started_s < 3
            ends.wait(1)


def busy_workers(fpm):
    processes = fpm.pool_status("a", full=True)["processes"]
    return [entry["pid"] for entry in processes if entry["state"] == "Running"]


def worker_of(fpm, pool):
    """Return a worker by its title: one that boots is not yet in its slot's state."""
    found = [
        pid
        for pid in children_of(fpm.process.pid)
        if title_of(pid).startswith(f"pyfpm: pool {pool} worker")
    ]
    return found[0] if found else None
