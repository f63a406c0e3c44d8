"""What happens to a master while it becomes another: signals, deaths, and orders that wait."""

import os
import random
import signal
import threading
import time

import psutil
import pytest
from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm, is_alive
from harness.processes import children_of

from pyfpm import ControlError

SHOP = """
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 3
"""
TAKES_OVER = "the new code takes over"
# The exec, the start of the interpreter and the imports take a few tenths of a second, in which
# signals are blocked; the last ones are after that, in the reload.
DELAYS_S = (0.0, 0.04, 0.1, 0.17, 0.3)


class Upgrade(threading.Thread):
    """An upgrade that is under way; `error` is what its client was told, if anything."""

    def __init__(self, service: Pyfpm) -> None:
        super().__init__()
        self._service = service
        self._since = service.log.mark()
        self.error = ""
        self.start()

    def run(self) -> None:
        try:
            self._service.control("upgrade")
        except ControlError as error:
            self.error = str(error)

    def wait_for_exec(self, then_s: float) -> None:
        """Wait until signals are blocked for the exec, and a moment more."""
        self._service.log.wait_for(TAKES_OVER, since=self._since)
        time.sleep(then_s)


def serves(service: Pyfpm) -> None:
    response = fetch(service.address("shop.sock"))
    assert (response.status, response.complete) == (200, True), response


def kill(pid: int) -> bool:
    """Kill a process; False if the upgrade has replaced it already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait_whole(service: Pyfpm) -> None:
    """Wait until the pool is as large as it should be, and nobody drains or waits to be reaped."""
    wait_until(lambda: service.pool_status("shop")["idle processes"] == 3)
    wait_until(lambda: len(children_of(service.process.pid)) == 4)
    for pid in children_of(service.process.pid):
        assert is_alive(psutil.Process(pid)), f"{pid} was not reaped"


@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_term_during_the_exec_ends_the_new_master(delay_s: float) -> None:
    """The signal is neither lost nor deadly: the service ends as it always does."""
    with Pyfpm(SHOP) as service:
        upgrade = Upgrade(service)
        upgrade.wait_for_exec(delay_s)
        assert service.stop(signal.SIGTERM) == 0
        upgrade.join()


@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_signals_during_the_exec_are_obeyed_afterwards(delay_s: float) -> None:
    """HUP reloads and USR1 reopens the log, as at any other time."""
    with Pyfpm(SHOP) as service:
        upgrade = Upgrade(service)
        upgrade.wait_for_exec(delay_s)
        since = service.log.mark()
        service.process.send_signal(signal.SIGUSR1)
        service.process.send_signal(signal.SIGHUP)
        service.log.wait_for("error log reopened", since=since)
        service.log.wait_for("reload asked for by a signal", since=since)
        upgrade.join()
        assert upgrade.error == ""
        wait_until(lambda: service.status()["pyfpm"]["state"] == "running")
        wait_whole(service)
        serves(service)


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGUSR1])
def test_signals_before_the_exec_are_obeyed(signum: int) -> None:
    """Whatever comes while an upgrade makes itself ready is dealt with by the old or the new."""
    dice = random.Random(11)
    with Pyfpm(SHOP) as service:
        for _ in range(4):
            upgrade = Upgrade(service)
            since = service.log.mark()
            for _ in range(6):
                time.sleep(dice.random() * 0.2)
                service.process.send_signal(signum)
            upgrade.join()
            assert upgrade.error == ""
            what = "error log reopened" if signum == signal.SIGUSR1 else "asked for by a signal"
            # Standard signals do not queue: of those that came during the exec one is left.
            service.log.wait_for(what, since=since)
            wait_until(lambda: service.status()["pyfpm"]["state"] == "running")
        wait_whole(service)
        serves(service)


@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_worker_that_dies_during_the_exec_is_replaced(delay_s: float) -> None:
    """Its death is found by the new master, counted and logged."""
    with Pyfpm(SHOP) as service:
        wait_whole(service)
        victim = service.worker_pids("shop")[0]
        upgrade = Upgrade(service)
        upgrade.wait_for_exec(delay_s)
        killed = kill(victim)
        upgrade.join()
        assert upgrade.error == ""
        if killed:
            service.log.wait_for(f"child {victim} exited on signal 9")
        wait_whole(service)
        serves(service)


@pytest.mark.parametrize("delay_s", DELAYS_S)
def test_zygote_that_dies_during_the_exec_harms_nobody(delay_s: float) -> None:
    """The pool gets another one, and the upgrade its new generation."""
    with Pyfpm(SHOP) as service:
        wait_whole(service)
        zygote = service.zygote_pid("shop")
        upgrade = Upgrade(service)
        upgrade.wait_for_exec(delay_s)
        kill(zygote)
        upgrade.join()
        assert upgrade.error == ""
        wait_whole(service)
        serves(service)


def test_workers_that_come_and_go_all_the_time_are_all_known_afterwards() -> None:
    """Reports of new workers, their deaths and recycling cross the exec in any order."""
    pool = SHOP + "pm.max_requests = 3\n"
    dice = random.Random(5)
    with Pyfpm(pool) as service:
        stop = threading.Event()
        failures: list[object] = []

        def ask() -> None:
            with service.client("shop.sock") as client:
                while not stop.is_set():
                    response = client.request("/echo", method="POST", body=b"x" * 100, keep=True)
                    if (response.status, response.body) != (200, b"x" * 100):
                        failures.append(response)
                        return

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for _ in range(4):
            time.sleep(dice.random() * 0.3)
            assert service.command("upgrade").returncode == 0
        stop.set()
        for asker in askers:
            asker.join()
        assert not failures
        wait_whole(service)
        recycles = service.pool_status("shop")["recycles"]
        assert recycles["max_requests"] > 10
        assert sum(service.pool_status("shop")["respawns"].values()) == 0
