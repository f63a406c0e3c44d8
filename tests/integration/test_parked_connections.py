"""Kept connections never pin a worker: surplus, minder, drain and adoption (DESIGN 4)."""

import os
import random
import signal
import threading
import time

import pytest
from harness.fcgi_client import FcgiClient, FcgiResponse, fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_request

POOL = """
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
"""
STATIC_2 = POOL + "pm = static\npm.max_children = 2\n"
ONDEMAND = POOL + "pm = ondemand\npm.max_children = 2\npm.process_idle_timeout = {idle}\n"


def pid_of(response: FcgiResponse) -> int:
    assert (response.status, response.complete) == (200, True), response
    return int(response.body)


def park_connections(service: Pyfpm, count: int) -> dict[int, list[FcgiClient]]:
    """Open kept connections, each used once, by the pid of the worker that answered."""
    parked: dict[int, list[FcgiClient]] = {}
    for _ in range(count):
        client = service.client("shop.sock")
        parked.setdefault(pid_of(client.request("/pid", keep=True)), []).append(client)
    return parked


def park_at_both(service: Pyfpm, at_least: int) -> dict[int, list[FcgiClient]]:
    """Park connections until both workers hold some: who is idle longest takes each."""
    parked: dict[int, list[FcgiClient]] = {}
    while len(parked) < 2 or min(map(len, parked.values())) < at_least:
        # Two at a time: the first keeps its worker busy, so the second meets the other one.
        first, second = service.client("shop.sock"), service.client("shop.sock")
        sleeper = threading.Thread(
            target=first.request, args=("/sleep?s=0.05",), kwargs={"keep": True}
        )
        sleeper.start()
        parked.setdefault(pid_of(second.request("/pid", keep=True)), []).append(second)
        sleeper.join()
        parked.setdefault(pid_of(first.request("/pid", keep=True)), []).append(first)
        assert sum(map(len, parked.values())) < 200, "one worker takes everything"
    return parked


def close_all(parked: dict[int, list[FcgiClient]]) -> None:
    for clients in parked.values():
        for client in clients:
            client.close()


def test_many_idle_kept_connections_leave_both_workers_free():
    """64 idle kept connections at 2 workers do not keep the 65th client waiting."""
    with Pyfpm(STATIC_2) as service:
        parked = park_connections(service, 64)
        wait_until(lambda: service.pool_status("shop")["parked connections"] == 64)
        wait_until(lambda: service.pool_status("shop")["idle processes"] == 2)
        assert pid_of(fetch(service.address("shop.sock"), "/pid")) in service.worker_pids("shop")
        for clients in parked.values():
            for client in clients:
                pid_of(client.request("/pid", keep=True))
        close_all(parked)


@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.005, 0.01, 0.05, 0.3])
def test_a_connection_parked_at_a_busy_worker_is_served_by_another(delay_s):
    """Whenever in a long request it becomes readable, the idle worker answers it meanwhile."""
    with Pyfpm(STATIC_2) as service:
        parked = park_at_both(service, 2)
        busy, (long, short, *_) = next(iter(parked.items()))
        slow: list[FcgiResponse] = []
        runner = threading.Thread(
            target=lambda: slow.append(long.request("/sleep?s=1.5", keep=True))
        )
        runner.start()
        time.sleep(delay_s)  # the interval under test
        started_s = time.monotonic()
        served_by = pid_of(short.request("/pid", keep=True))
        took_s = time.monotonic() - started_s
        if delay_s:  # with no delay the short one may come first
            assert served_by != busy
        assert took_s < 1.0, "it waited for the long request"
        assert not slow or served_by != busy
        runner.join()
        assert slow[0].status == 200
        close_all(parked)


def test_without_the_minder_a_parked_connection_waits_for_its_worker():
    """`pm.minder = no` does what it says: the worker keeps its connections to itself."""
    with Pyfpm(STATIC_2 + "pm.minder = no\n") as service:
        parked = park_at_both(service, 2)
        busy, (long, short, *_) = next(iter(parked.items()))
        runner = threading.Thread(
            target=long.request, args=("/sleep?s=0.5",), kwargs={"keep": True}
        )
        runner.start()
        time.sleep(0.1)
        assert pid_of(short.request("/pid", keep=True)) == busy
        runner.join()
        close_all(parked)


def test_a_draining_worker_hands_its_parked_connections_over():
    """TERM to a worker: its kept connections live on at another one."""
    with Pyfpm(STATIC_2) as service:
        parked = park_at_both(service, 3)
        leaving = next(iter(parked))
        mark = service.log.mark()
        os.kill(leaving, signal.SIGTERM)
        service.log.wait_for(rf"child {leaving} exited with code 0", since=mark)
        for client in parked[leaving]:
            assert pid_of(client.request("/pid", keep=True)) != leaving
        close_all(parked)


@pytest.mark.parametrize("seed", range(3))
def test_posts_on_kept_connections_survive_workers_that_drain(seed):
    """Workers are drained again and again under kept POSTs: not one of them fails."""
    chance = random.Random(seed)
    pool = POOL + "pm = static\npm.max_children = 3\n"
    with Pyfpm(pool) as service:
        failures: list[object] = []
        done = threading.Event()
        counts = [0, 0, 0, 0]

        def post(number: int) -> None:
            with service.client("shop.sock") as client:
                while not done.is_set():
                    body = b"x" * counts[number]
                    response = client.request("/echo", method="POST", body=body, keep=True)
                    if not response.complete or response.status != 200 or response.body != body:
                        failures.append(response)
                        return
                    counts[number] += 1

        posters = [threading.Thread(target=post, args=(number,)) for number in range(4)]
        for poster in posters:
            poster.start()
        for _ in range(15):
            mark = service.log.mark()
            victim = chance.choice(service.worker_pids("shop"))
            os.kill(victim, signal.SIGTERM)
            service.log.wait_for(rf"child {victim} exited with code 0", since=mark)
            time.sleep(chance.uniform(0, 0.05))
        done.set()
        for poster in posters:
            poster.join()
        assert not failures
        assert min(counts) > 50


@pytest.mark.parametrize("seed", range(2))
def test_an_ondemand_pool_goes_to_zero_and_back_under_kept_posts(seed):
    """POSTs sent around the moment at which the last worker leaves are all answered."""
    chance = random.Random(seed)
    with Pyfpm(ONDEMAND.format(idle="200ms")) as service:
        clients = [service.client("shop.sock"), service.client("shop.sock")]
        pids = set()
        for _ in range(25):
            for client in clients:
                response = client.request("/echo", method="POST", body=b"abc", keep=True)
                assert (response.status, response.body) == (200, b"abc")
                pids.add(pid_of(client.request("/pid", keep=True)))
            # Around the idle timeout, where retiring, adopting and sending meet.
            time.sleep(chance.uniform(0.15, 0.3))
        assert len(pids) > 3, "the pool never went to zero"
        for client in clients:
            client.close()


def test_more_parked_connections_than_the_channel_holds_outlive_the_last_worker():
    """400 kept connections of a pool that went to zero are all still usable afterwards."""
    with Pyfpm(ONDEMAND.format(idle="300ms")) as service:
        parked = park_connections(service, 400)
        wait_until(lambda: service.pool_status("shop")["total processes"] == 0)
        wait_until(lambda: service.pool_status("shop")["parked connections"] == 400)
        for clients in parked.values():
            for client in clients:
                pid_of(client.request("/pid", keep=True))
        close_all(parked)


def test_connections_that_the_web_server_closed_call_no_worker():
    """Adopted connections that end are closed by the master, without spawning anybody."""
    with Pyfpm(ONDEMAND.format(idle="200ms")) as service:
        parked = park_connections(service, 10)
        wait_until(lambda: service.pool_status("shop")["total processes"] == 0)
        mark = service.log.mark()
        close_all(parked)
        wait_until(lambda: service.pool_status("shop")["parked connections"] == 0)
        assert not service.log.find("started", since=mark)
        assert service.pool_status("shop")["total processes"] == 0


DYING = """
import os, signal, time
from pyfpm.runtime import intake
from torture import app

take_one = intake.Intake.take_one

def die_instead(self, source):
    try:
        os.unlink("die-of-the-next-wake-up")
    except FileNotFoundError:
        return take_one(self, source)
    time.sleep({delay_s})
    os.kill(os.getpid(), signal.SIGKILL)

intake.Intake.take_one = die_instead
"""


@pytest.mark.parametrize("delay_s", [0, 0.01, 0.2])
def test_a_worker_woken_and_killed_before_it_accepts_leaves_no_client_waiting(delay_s):
    """The wake-up that died with a worker is made up for (DESIGN 3, rule c).

    Two workers sleep; a connection wakes one of them, which dies between waking and accepting,
    sooner or later. The kernel wakes nobody else for it, and an ondemand pool replaces nobody.
    """
    pool = ONDEMAND.format(idle="60s").replace("torture:app", "dying:app")
    pool += 'environment = PYFPM_PURE="1"\n'  # what is compiled cannot be replaced
    files = {"dying.py": DYING.format(delay_s=delay_s)}
    with Pyfpm(pool, files=files) as service:
        service.app.chmod(0o777)
        address = service.address("shop.sock")
        sleepers = [threading.Thread(target=fetch, args=(address, "/sleep?s=0.3")) for _ in "ab"]
        for sleeper in sleepers:
            sleeper.start()
        for sleeper in sleepers:
            sleeper.join()
        workers = service.worker_pids("shop")
        assert len(workers) == 2
        wait_until(lambda: service.pool_status("shop")["idle processes"] == 2)
        mark = service.log.mark()
        (service.app / "die-of-the-next-wake-up").touch(0o666)
        with service.client("shop.sock") as client:
            client.socket.settimeout(3)
            assert pid_of(client.request("/pid"))
        service.log.wait_for("on signal 9", since=mark)
        assert len(set(workers) - set(service.worker_pids("shop"))) == 1


def test_a_worker_with_all_its_connections_open_accepts_no_more_until_one_closes():
    """`pm.max_connections` bounds a worker, and the next connection waits in the backlog."""
    pool = POOL + "pm = static\npm.max_children = 1\npm.max_connections = 3\n"
    with Pyfpm(pool) as service:
        parked = park_connections(service, 3)
        waiting = service.client("shop.sock")
        waiting.send(b"")
        wait_until(lambda: service.pool_status("shop")["listen queue"] == 1)
        clients = next(iter(parked.values()))
        clients.pop().close()
        pid_of(waiting.request("/pid", keep=True))
        waiting.close()
        close_all(parked)


def test_a_child_that_the_application_forks_holds_no_connection_open():
    """The client sees the end of its connection although a child of the worker lives on."""
    pool = STATIC_2.replace("torture:app", "forker:app")
    with Pyfpm(pool, files={"forker.py": FORKER}) as service, service.client("shop.sock") as client:
        assert client.request("/").status == 200
        assert client.is_closed_by_peer(timeout_s=2)


FORKER = """
import os, time

def app(environ, start_response):
    if os.fork() == 0:
        time.sleep(4)
        os._exit(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"forked"]
"""


def test_a_connection_handed_over_keeps_the_patience_of_a_kept_one():
    """After a drain the new owner waits for keepalive_timeout, not for request_header_timeout."""
    with Pyfpm(STATIC_2 + "request_header_timeout = 300ms\n") as service:
        parked = park_at_both(service, 1)
        leaving, (client, *_) = next(iter(parked.items()))
        mark = service.log.mark()
        os.kill(leaving, signal.SIGTERM)
        service.log.wait_for(rf"child {leaving} exited with code 0", since=mark)
        assert not client.is_closed_by_peer(timeout_s=1)
        client.socket.settimeout(5)
        assert pid_of(client.request("/pid", keep=True)) != leaving
        close_all(parked)


def test_a_request_sent_in_time_is_served_though_its_worker_was_busy():
    """A deadline that passes while the only worker is busy closes nothing that has data."""
    pool = POOL + "pm = static\npm.max_children = 1\nkeepalive_timeout = 1s\n"
    with Pyfpm(pool) as service:
        busy, other = service.client("shop.sock"), service.client("shop.sock")
        for client in (busy, other):
            pid_of(client.request("/pid", keep=True))
        runner = threading.Thread(target=busy.request, args=("/sleep?s=2",), kwargs={"keep": True})
        runner.start()
        time.sleep(0.3)
        assert pid_of(other.request("/pid", keep=True))
        runner.join()
        busy.close()
        other.close()


def test_a_worker_full_of_connections_does_not_keep_the_pool_from_growing():
    """It takes no more, so it is not idle, and the next connection gets a worker of its own."""
    pool = ONDEMAND.format(idle="60s") + "pm.max_connections = 2\n"
    with Pyfpm(pool) as service:
        first = service.client("shop.sock")
        full = pid_of(first.request("/pid", keep=True))
        wait_until(lambda: service.pool_status("shop")["idle processes"] == 1)
        second = service.client("shop.sock")
        assert pid_of(second.request("/pid", keep=True)) == full
        with service.client("shop.sock") as third:
            assert pid_of(third.request("/pid")) != full
        close_all({full: [first, second]})


def test_a_new_connection_is_taken_before_a_half_sent_request_goes_on():
    """A slow request that arrives in two pieces does not hide the connection of the same wake-up.

    Whichever of the two workers wakes for both must leave the quick one to the other or serve it
    first; it may not sit on it for as long as the slow one runs.
    """
    with Pyfpm(STATIC_2) as service:
        slow = make_params("/sleep?s=2", method="POST", body=b"xy")
        whole = encode_request(1, slow, b"xy", keep_conn=False)
        for _ in range(5):
            halves = [service.client("shop.sock") for _ in "ab"]
            halves[0].send(whole[:-20])
            time.sleep(0.02)
            halves[0].send(whole[-20:])
            started_s = time.monotonic()
            assert pid_of(halves[1].request("/pid"))
            assert time.monotonic() - started_s < 1
            for client in halves:
                client.close()
            wait_until(lambda: service.pool_status("shop")["active processes"] == 0)
