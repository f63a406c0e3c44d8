"""Thousands of connections that send little or nothing: everybody else is served all the same."""

import threading
from contextlib import contextmanager

import pytest
from harness.fcgi_client import FcgiClient, fetch
from harness.flood import Flood
from harness.machine import free_port, wait_until
from harness.master import Pyfpm
from harness.processes import count_descriptors, process_fields

TCP_PORT = free_port()
POOL = f"""
[pool:one]
app = torture:app
listen = %(here)s/one.sock, 127.0.0.1:{TCP_PORT}
listen.allowed_clients = 127.0.0.1
pm = static
pm.max_children = 2
request_header_timeout = {{header_timeout}}
request_body_timeout = {{header_timeout}}
"""
MANY = {"silent": 1700, "half_begin": 1700, "half_params": 1600}
SLOW = {"slow_head": 100, "slow_body": 100}
LONGEST_WAIT_S = 30
_MOST_GROWTH_BYTES = 24 << 20


def running(header_timeout, main="", **options):
    pool = POOL.format(header_timeout=header_timeout) + main
    return Pyfpm(pool, main="error_log = error.log", **options)


def address_of(fpm, kind):
    return fpm.address("one.sock") if kind == "unix" else f"127.0.0.1:{TCP_PORT}"


@contextmanager
def clients(address):
    """Four clients that connect for each request, until the block ends; yields their outcomes.

    Nobody waits for long, which here means: not until what the others have not sent is overdue.
    """
    outcomes, over = [], threading.Event()

    def ask():
        while not over.is_set():
            try:
                with FcgiClient(address, LONGEST_WAIT_S) as client:
                    response = client.request("/pid")
                outcomes.append("served" if response.complete else "cut off")
            except OSError as error:
                outcomes.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def wait_served(outcomes, more):
    """Until so many more requests have ended, whichever way."""
    wanted = len(outcomes) + more
    wait_until(lambda: len(outcomes) >= wanted, timeout_s=2 * LONGEST_WAIT_S)


def descriptors_of(fpm):
    return {pid: count_descriptors(pid) for pid in fpm.worker_pids("one")}


def resident_bytes(fpm):
    fields = [process_fields(pid) for pid in fpm.worker_pids("one")]
    return sum(int(one["VmRSS"].split()[0]) * 1024 for one in fields)


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_flood_of_half_open_connections_keeps_no_client_out(kind):
    """More of them than the workers may hold, for longer than a client waits: all are served."""
    with running("300s") as fpm:
        address = address_of(fpm, kind)
        with Flood(address, **MANY, **SLOW) as flood, clients(address) as outcomes:
            wait_until(lambda: flood.counts()["opened"] > 2500, timeout_s=60)
            wait_served(outcomes, 200)
            flood.wait_opened()
            wait_served(outcomes, 200)
            assert flood.counts()["open"] <= 2000
            assert fpm.pool_status("one")["refusals"]["timeout"] >= 3000
        assert set(outcomes) == {"served"}
        lines = (fpm.folder / "error.log").read_text().splitlines()
        told = [line for line in lines if "pm.max_connections reached: closed" in line]
        assert told
        assert len(told) < 100
        assert all("[pool one]" in line for line in told)


def test_flood_beyond_the_descriptors_of_a_worker_keeps_no_client_out():
    """Where the limit on descriptors is below pm.max_connections, that one counts."""
    with running("300s", launcher=("prlimit", "--nofile=256:")) as fpm:
        address = address_of(fpm, "unix")
        with Flood(address, silent=2000) as flood, clients(address) as outcomes:
            flood.wait_opened()
            wait_served(outcomes, 200)
        assert set(outcomes) == {"served"}


def test_connections_that_are_kept_outlast_a_flood():
    """Who has been answered is not taken for one of those who send nothing."""
    with running("300s") as fpm:
        address = address_of(fpm, "unix")
        kept = [FcgiClient(address) for _ in range(50)]
        for client in kept:
            assert client.request("/pid", keep=True).complete
        with Flood(address, silent=5000) as flood:
            flood.wait_opened()
            fetch(address, "/pid")
            for client in kept:
                assert client.request("/pid", keep=True).complete
                client.close()


def test_after_a_flood_everything_is_as_before():
    """Every connection is closed by its deadline; memory and descriptors are given back."""
    with running("2s") as fpm:
        address = address_of(fpm, "unix")
        for _ in range(50):
            fetch(address, "/pid")
        wait_until(lambda: len(fpm.worker_pids("one")) == 2)
        before = resident_bytes(fpm)
        most = max(descriptors_of(fpm).values()) + 8  # a thread of a worker may begin meanwhile
        with Flood(address, **MANY, **SLOW) as flood:
            flood.wait_opened()
            # A byte a second of a body is in time whenever it comes; nothing else is.
            wait_until(lambda: flood.counts()["open"] <= 100, timeout_s=60)
        wait_until(lambda: max(descriptors_of(fpm).values()) <= most, timeout_s=30)
        assert resident_bytes(fpm) <= before + _MOST_GROWTH_BYTES
        assert fpm.pool_status("one")["parked connections"] == 0
        assert fetch(address, "/pid").complete
