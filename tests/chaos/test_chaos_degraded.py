"""A pool that cannot boot beside ten that do: they don't notice, and the log does not flood."""

import random
import time

import pytest
from harness.fcgi_client import fetch
from harness.load import LoadResult
from harness.machine import wait_until
from scenario import LONG, pool, roll, served

HEALTHY = 10
BROKEN = """
[pool:broken]
app = broken:app
listen = %(here)s/broken.sock
pm = static
pm.max_children = 2
"""
FILES = {"broken.py": "raise RuntimeError('the database is away')\n"}


def healthy_pools() -> str:
    """Make the pool under load and nine more."""
    return "\n\n".join(
        pool(pm="static", most=2).replace("shop", name)
        for name in ["shop", *(f"shop{number}" for number in range(1, HEALTHY))]
    )


def test_pool_that_cannot_boot_is_degraded_and_hurts_nobody():
    """Status says why, the log says it once and then only that it goes on, nine others answer."""
    dice = roll("test_pool_that_cannot_boot_is_degraded_and_hurts_nobody")
    seconds = 60 if LONG else 3
    with served(healthy_pools() + BROKEN, dice, connections=4, rate=500, files=FILES) as world:
        end_s = time.monotonic() + seconds
        wait_until(lambda: world.fpm.pool_status("broken")["state"] == "degraded")
        while time.monotonic() < end_s:
            number = dice.randrange(1, HEALTHY)
            assert fetch(world.fpm.address(f"shop{number}.sock"), "/echo?n=1").status == 200
            time.sleep(0.05)
        status = world.fpm.pool_status("broken")
        lines = world.fpm.log.find(r"\[pool broken\]|Traceback|database is away")
        result = world.load.stop()
        states = {name: one["state"] for name, one in world.fpm.control("status")["pools"].items()}
    assert result.failed == 0
    assert status["state"] == "degraded"
    assert "the database is away" in status["reason"]
    assert states.pop("broken") == "degraded"
    assert set(states.values()) == {"running"}
    # Exponential back-off: a minute has about twice the tries of its first three seconds.
    assert len(lines) <= (40 if LONG else 20), lines


@pytest.mark.skipif(not LONG, reason="time is measured only in the long form: make chaos")
def test_latency_of_the_others_does_not_move():
    """Their p99 beside a pool that tries to boot is that of a machine without one, measured."""
    dice = roll("test_latency_of_the_others_does_not_move")
    # In turns, so that a slow moment of the machine is in both.
    without = [measure(dice, healthy_pools()) for _ in range(2)]
    beside = [measure(dice, healthy_pools() + BROKEN) for _ in range(2)]
    best, worst = min(one.p99_s for one in without), min(one.p99_s for one in beside)
    assert worst < 3 * best + 0.02


def measure(dice: random.Random, pools: str) -> LoadResult:
    """Load one of the pools for a while."""
    with served(pools, dice, connections=4, rate=500, files=FILES) as world:
        world.load.wait_for(5000)
        result = world.load.stop()
    assert result.failed == 0
    return result
