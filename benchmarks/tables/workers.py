"""What one more worker of a small application costs."""

import time
from pathlib import Path

from harness.machine import wait_until
from harness.master import READY

from benchmarks.bench import Figures, Run, Table
from benchmarks.family import Family, status_bytes
from benchmarks.peers import run_pyfpm

COUNTS = (10, 100, 500)
POOL = """
[pool:bench]
app = hello:app
directory = {apps}
listen = %(here)s/pool.sock
pm = static
pm.max_children = {workers}
pm.max_spawn_rate = {workers}
"""
NOTES = (
    "`pm.max_spawn_rate` does not limit the start, which ends when the last worker is idle.",
    "Master and zygote are counted in.",
)


def measure(run: Run, apps: Path) -> Table:
    figures = {}
    for workers in COUNTS:
        figures[str(workers)] = observe(apps, workers)
        run.say(f"  {workers} workers: ready after {figures[str(workers)]['start_s']:.2f} s")
    rows = [
        [
            workers,
            f"{one['start_s']:.2f}",
            f"{one['start_s'] / int(workers) * 1000:.1f}",
            f"{one['pss_mib']:,.1f}",
            f"{one['pss_mib'] / int(workers):.2f}",
            f"{one['master_rss_mib']:.1f}",
        ]
        for workers, one in figures.items()
    ]
    return Table(
        "Workers of one static pool with the hello application",
        ["workers", "start s", "ms a worker", "all PSS MiB", "MiB a worker", "master RSS MiB"],
        rows,
        NOTES,
        {"workers": figures},
    )


def observe(apps: Path, workers: int) -> Figures:
    begun = time.monotonic()
    with run_pyfpm(POOL.format(apps=apps, workers=workers), wait_ready=False) as fpm:
        fpm.log.wait_for(READY, timeout_s=180)
        wait_until(lambda: fpm.pool_status("bench")["idle processes"] == workers, timeout_s=180)
        start_s = time.monotonic() - begun
        time.sleep(1)
        return {
            "start_s": start_s,
            "pss_mib": Family(fpm.process.pid).pss_bytes() / 2**20,
            "master_rss_mib": status_bytes(fpm.process.pid, "VmRSS") / 2**20,
        }
