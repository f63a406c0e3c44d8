"""What process.max leaves to a pool beside others that keep what they have got."""

import contextlib
import os
import signal

from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.hostile_app import CONTROLS, pool, workers_of
from harness.machine import wait_until
from harness.master import Pyfpm

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
from torture import app
"""
HONEST = "from torture import app\n"
BAD = pool("bad", "preload = on")
NO_ROOM = r"WARNING: \[pool {}\] process\.max \({}\) leaves no room"


def well(name, pm="static"):
    return pool(name, app="torture:app", pm=pm)


def together(source, process_max):
    """A pool `bad` of two workers, and one that may have two and sleeps."""
    files = {"hostile.py": CONTROLS + source}
    main = f"process.max = {process_max}"
    return Pyfpm(BAD + well("asleep", "ondemand"), main=main, files=files)


def test_workers_that_drain_without_end_leave_another_pool_its_first_one():
    """They have one place beyond pm.max_children, where process.max has none to spare."""
    with together(DRAINS, 4) as fpm:
        fpm.log.wait_for(NO_ROOM.format("bad", 4), timeout_s=30)
        wait_until(lambda: workers_of(fpm, "bad", 3))
        assert fetch(fpm.address("asleep.sock"), "/pid").status == 200
        assert len(workers_of(fpm, "bad")) == 3


def test_workers_that_drain_without_end_leave_another_pool_all_of_its_own():
    """Where process.max has room for what both may have, pm.reload_surge included."""
    with together(DRAINS, 6) as fpm:
        fpm.log.wait_for(NO_ROOM.format("bad", 6), timeout_s=30)
        wait_until(lambda: workers_of(fpm, "bad", 3))
        for _ in range(2):
            assert fetch(fpm.address("asleep.sock"), "/pid").status == 200
            assert fpm.command("reload", "asleep").returncode == 0
        assert len(workers_of(fpm, "bad")) == 3


def test_reload_gets_on_where_process_max_is_what_all_may_have():
    """The place in which workers are replaced is lent by the one that sleeps, and given back."""
    with together(HONEST, 4) as fpm:
        wait_until(lambda: workers_of(fpm, "bad", 2))
        old = set(workers_of(fpm, "bad"))
        for _ in range(2):
            done = fpm.command("reload", "bad")
            assert done.returncode == 0, done.stderr
        new = wait_until(lambda: workers_of(fpm, "bad", 2))
        assert not old & set(new)
        assert fetch(fpm.address("asleep.sock"), "/pid").status == 200


def test_reload_that_is_asked_for_may_have_the_last_place_of_all():
    """Which is left to a pool that sleeps otherwise, and is free again afterwards."""
    with together(HONEST, 3) as fpm:
        wait_until(lambda: workers_of(fpm, "bad", 2))
        for command in ("reload", "restart"):
            old = set(workers_of(fpm, "bad"))
            done = fpm.command(command, "bad")
            assert done.returncode == 0, done.stderr
            assert not old & set(wait_until(lambda: workers_of(fpm, "bad", 2)))
        assert fetch(fpm.address("asleep.sock"), "/pid").status == 200


def test_pools_that_share_one_spare_place_are_all_reloaded():
    """None waits for what another has got and does not give back."""
    names = ["one", "two", "three"]
    with Pyfpm("".join(map(well, names)), main="process.max = 7") as fpm:
        old = {pid for name in names for pid in wait_until(lambda n=name: workers_of(fpm, n, 2))}
        done = fpm.command("reload")
        assert done.returncode == 0, done.stderr
        new = {pid for name in names for pid in wait_until(lambda n=name: workers_of(fpm, n, 2))}
        assert not old & new


def test_reload_that_finds_no_place_for_the_rest_says_so_and_ends():
    """A request that does not end has the place of the surge; other reloads wait for this one."""
    shop = pool("shop", "pm.reload_surge = 2", app="torture:app")
    defaults = "boot_timeout = 2s\nworker_hung_timeout = 0"
    with (
        Pyfpm(shop, main="process.max = 3", defaults=defaults) as fpm,
        contextlib.ExitStack() as stack,
    ):
        old = wait_until(lambda: workers_of(fpm, "shop", 2))
        for _ in old:
            client = stack.enter_context(FcgiClient(fpm.address("shop.sock"), 60))
            client.send(encode_request(1, make_params("/sleep?s=3600")))
        wait_until(lambda: fpm.pool_status("shop")["active processes"] == 2)
        done = fpm.command("reload")
        assert done.returncode == 0, done.stderr
        assert "1 worker is not replaced yet" in done.stderr
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
