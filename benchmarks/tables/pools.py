"""What many pools cost: to start, and then for nothing."""

import time
from pathlib import Path

from harness.machine import wait_until
from harness.master import READY, Pyfpm

from benchmarks.bench import Figures, Run, Table
from benchmarks.family import Family, cpu_s, rollup_bytes, status_bytes
from benchmarks.peers import run_pyfpm

COUNTS = (1, 10, 100, 300)
FULL = "100 pools × 5 workers"
POOL = """
[pool:site{number}]
app = hello:app
directory = {apps}
listen = %(here)s/site{number}.sock
{manager}
"""
ONDEMAND = "pm = ondemand"
STATIC = "pm = static\npm.max_children = 5"


def measure(run: Run, apps: Path) -> Table:
    idle_s = idle_seconds(run)
    figures = {}
    for count in COUNTS:
        name = f"{count} ondemand pool{'s' if count > 1 else ''}"
        figures[name] = observe(render(count, ONDEMAND, apps), 0, idle_s)
        run.say(f"  {name}: ready after {figures[name]['start_s']:.2f} s")
    figures[FULL] = observe(render(100, STATIC, apps), 500, idle_s)
    run.say(f"  {FULL}: ready after {figures[FULL]['start_s']:.2f} s")
    rows = [
        [
            name,
            f"{one['start_s']:.2f}",
            f"{one['master_rss_mib']:.1f}",
            f"{one['master_cpu_percent']:.2f}",
            f"{one['all_cpu_percent']:.2f}",
            f"{one['all_pss_mib']:,.0f}",
            f"{one['processes']:.0f}",
        ]
        for name, one in figures.items()
    ]
    head = [
        *("pools", "start s", "master RSS MiB", "master CPU %", "all CPU %", "all PSS MiB"),
        "processes",
    ]
    note = f"CPU over {idle_s} s without a request, in per cent of one processor."
    return Table("Many idle pools", head, rows, [note], {"pools": figures})


def idle_seconds(run: Run) -> int:
    """20 s, less in a short run: a clock tick is 10 ms, so 0.05 % of it."""
    return min(20, 7 * run.seconds)


def render(count: int, manager: str, apps: Path) -> str:
    return "".join(
        POOL.format(number=number, manager=manager, apps=apps) for number in range(count)
    )


def count_idle(fpm: Pyfpm) -> int:
    """Workers of all pools that wait for a request."""
    pools = fpm.control("status")["pools"]
    return sum(pool["idle processes"] for pool in pools.values())


def observe(pools: str, workers: int, idle_s: float) -> Figures:
    begun = time.monotonic()
    with run_pyfpm(pools, wait_ready=False) as fpm:
        fpm.log.wait_for(READY, timeout_s=180)
        wait_until(lambda: count_idle(fpm) == workers, timeout_s=180)
        start_s = time.monotonic() - begun
        time.sleep(2)  # what follows a start has ended
        master, family = fpm.process.pid, Family(fpm.process.pid)
        before, all_before, watched = cpu_s(master), family.cpu_s(), time.monotonic()
        time.sleep(idle_s)
        watched = time.monotonic() - watched
        used_s, all_used_s = cpu_s(master) - before, family.cpu_s() - all_before
        return {
            "start_s": start_s,
            "master_rss_mib": status_bytes(master, "VmRSS") / 2**20,
            "master_pss_mib": rollup_bytes(master, "Pss") / 2**20,
            "master_cpu_percent": used_s / watched * 100,
            "all_cpu_percent": all_used_s / watched * 100,
            "all_pss_mib": family.pss_bytes() / 2**20,
            "processes": family.count(),
        }
