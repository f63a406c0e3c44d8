"""Processes that stand still, full disks, no descriptors left: the service goes on."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.fcgi_client import FcgiClient
from harness.machine import temporary_folder, wait_until
from harness.processes import watching
from in_flight import stopped
from scenario import LONG, Served, pool, roll, served


def test_stopped_workers_hold_up_only_what_they_have():
    """Others serve meanwhile, new connections among them; nothing is lost when it goes on."""
    dice = roll("test_stopped_workers_hold_up_only_what_they_have")
    with served(pool(pm="static", most=4), dice, connections=8) as world:
        for _ in range(20 if LONG else 3):
            world.load.wait_for(dice.randrange(50, 500))
            stop_one(world, dice)
        result = world.load.stop()
    assert result.failed == 0


def stop_one(world: Served, dice: random.Random) -> None:
    """Stop a worker for a while, and be served all the same."""
    worker = dice.choice(wait_until(lambda: world.fpm.worker_pids("shop")))
    with stopped(worker):
        end_s = time.monotonic() + dice.uniform(0.1, 1.0)
        while time.monotonic() < end_s:
            with FcgiClient(world.fpm.address("shop.sock"), 5) as client:
                answer = client.request("/echo?n=5")
            assert answer.header("X-Worker") != str(worker)
            assert answer.body == b"GET 5 0 00000000\n"
            time.sleep(0.01)


def test_worker_that_stays_stopped_is_replaced():
    """Stopped between two requests it hangs, stopped in one it takes too long: killed either way.

    Only what it had is lost, and the log says which of the two it was.
    """
    dice = roll("test_worker_that_stays_stopped_is_replaced")
    rounds, connections = (5, 8) if LONG else (1, 8)
    limits = ("worker_hung_timeout = 500ms", "request_terminate_timeout = 500ms")
    pools = pool(*limits, "request_terminate_grace = 200ms", pm="static", most=4)
    with served(pools, dice, connections=connections) as world:
        for _ in range(rounds):
            world.load.wait_for(dice.randrange(50, 500))
            worker = dice.choice(world.fpm.worker_pids("shop"))
            with watching(worker) as ends, stopped(worker):
                ends.wait(20)
            world.fpm.log.wait_for(rf"child {worker}\b.*(hangs|does not end).*killed")
        result = world.load.stop()
        wait_until(lambda: world.fpm.pool_status("shop")["idle processes"] == 4)
    # nginx goes on sending on the kept connections of a process that only stands still: at most
    # every client has one request there by the time it is killed.
    assert result.failed <= rounds * connections
    assert set(result.counts) <= {"ok", "status", "broken"}


def test_stopped_zygote_holds_up_no_request():
    """Nobody is forked meanwhile, and the workers that there are serve on."""
    dice = roll("test_stopped_zygote_holds_up_no_request")
    with served(pool("pm.start_servers = 2"), dice, connections=2, rate=300) as world:
        for _ in range(10 if LONG else 2):
            zygote = wait_until(lambda: world.fpm.zygote_pid("shop"))
            with stopped(zygote):
                world.load.connections(dice.randrange(1, 3))
                world.load.wait_for(dice.randrange(50, 150))
        result = world.load.stop()
    assert result.failed == 0


@contextlib.contextmanager
def tiny_disk() -> Iterator[Path]:
    """Mount a disk of 64 KiB."""
    with temporary_folder() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "tmpfs", folder]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def fill_up(folder: Path) -> Path:
    """Leave no free page; the file that took them all."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def test_full_disk_under_the_error_log_costs_lines_and_nothing_else(as_root):
    """Reloads, new log files and a killed zygote while no line can be written; then it can."""
    dice = roll("test_full_disk_under_the_error_log_costs_lines_and_nothing_else")
    with (
        tiny_disk() as disk,
        served(
            pool(), dice, connections=6, rate=500, main=f"error_log = {disk}/error.log"
        ) as world,
    ):
        for _ in range(5 if LONG else 1):
            filler = fill_up(disk)
            acts = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1, "zygote"]
            dice.shuffle(acts)
            for act in acts:
                disturb(world, act)
                world.load.wait_for(dice.randrange(20, 100))
            filler.unlink()
            size = (disk / "error.log").stat().st_size
            world.fpm.process.send_signal(signal.SIGUSR1)
            wait_until(lambda size=size: (disk / "error.log").stat().st_size > size)
        assert world.fpm.pool_status("shop")["state"] in ("running", "reloading")
        result = world.load.stop()
    assert result.failed == 0


def disturb(world: Served, act: signal.Signals | str) -> None:
    """Do something that the master has a line for."""
    if act == "zygote":
        os.kill(wait_until(lambda: world.fpm.zygote_pid("shop")), signal.SIGKILL)
    else:
        world.fpm.process.send_signal(act)


HUNGRY = """\
import os, resource, threading
import echo_app

resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

def release(taken):
    for descriptor in taken:
        os.close(descriptor)

def app(environ, start_response):
    number = int(environ["QUERY_STRING"].partition("&")[0].removeprefix("n="))
    answer = echo_app.app(environ, start_response)
    if number % 40 == 0:
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        # Kept beyond the request: for a while the worker can accept nothing.
        threading.Timer(number % 7 * 0.05, release, [taken]).start()
    return answer
"""


def test_application_that_eats_all_descriptors_costs_no_request():
    """A worker without any leaves new connections to others, or to itself a little later."""
    dice = roll("test_application_that_eats_all_descriptors_costs_no_request")
    pools = pool(pm="static", most=3, app="hungry")
    with served(pools, dice, connections=12, files={"hungry.py": HUNGRY}) as world:
        for _ in range(20 if LONG else 4):
            # Fewer and more connections, so that there are always new ones to be accepted.
            world.load.connections(dice.randrange(1, 13))
            world.load.wait_for(dice.randrange(100, 800))
            with FcgiClient(world.fpm.address("shop.sock"), 10) as client:
                assert client.request("/echo?n=1").status == 200
        result = world.load.stop()
        assert not world.fpm.log.find(r"child \d+ exited")
    assert result.failed == 0
