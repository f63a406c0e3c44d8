"""What does it cost to take what an application prints, and how much of it is kept?

One worker prints lines of 80 bytes, each with a write of its own: 500 and 5,000 a second, as an
application in debug level does, and as fast as it can, for longer than pyfpm's patience with a pool
that prints too much.
"""

import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import EXCEPTIONS, Figures, Run, Table, medians, run_rounds
from benchmarks.collectors import COLLECTORS, Collector
from benchmarks.family import cpu_s

RATES = {"500/s": 500, "5,000/s": 5000, "full speed": 0}
_FLOOD_S = 10  # pyfpm drops nothing in the first five
_QUIET_S = 0.5
_MARK = b"debug: x"


def measure(run: Run, apps: Path) -> Table:
    with ExitStack() as stack:
        collectors = {}
        for name, start in COLLECTORS.items():
            try:
                collectors[name] = stack.enter_context(start(apps))
            except EXCEPTIONS as error:  # one peer is not the whole run
                run.miss(name, f"did not start: {error}")
        cases = [f"{name} | {rate}" for name in collectors for rate in RATES]
        rounds = min(run.rounds, 3)
        measured = run_rounds(
            run, cases, lambda case: measure_case(collectors, case, run.seconds), rounds
        )
    return tell(medians(measured), list(collectors), measured)


def measure_case(collectors: dict[str, Collector], case: str, seconds: int) -> Figures:
    name, _, rate = case.partition(" | ")
    one = collectors[name]
    size_bytes = one.log.stat().st_size if one.log.exists() else 0
    before_s, begun_s = cpu_s(one.pid), time.monotonic()
    printed = one.print_lines(seconds if RATES[rate] else _FLOOD_S, RATES[rate])
    wait_quiet(one.log)
    took_s, used_s = time.monotonic() - begun_s, cpu_s(one.pid) - before_s
    kept = count_lines(one.log, size_bytes)
    return {
        "rate": kept / took_s,
        "lost_percent": (printed - kept) / printed * 100,
        "cpu_ms_per_1000": used_s / kept * 1e6,
        "cpu_percent": used_s / took_s * 100,
    }


def wait_quiet(log: Path) -> None:
    """Until nothing has been written for a while."""
    size, quiet_s = -1, time.monotonic()
    while time.monotonic() - quiet_s < _QUIET_S:
        time.sleep(0.02)
        if log.stat().st_size != size:
            size, quiet_s = log.stat().st_size, time.monotonic()


def count_lines(log: Path, start: int) -> int:
    with log.open("rb") as file:
        file.seek(start)
        return sum(line.count(_MARK) for line in file)


def tell(middle: dict[str, Figures], names: list[str], measured: object) -> Table:
    rows = []
    for name in names:
        cases = [middle[f"{name} | {rate}"] for rate in RATES]
        rows.append(
            [
                name,
                *(f"{one['cpu_ms_per_1000']:.1f}" for one in cases),
                f"{cases[-1]['rate']:,.0f}",
                f"{cases[-1]['lost_percent']:.0f}",
                f"{cases[-1]['cpu_percent']:.0f}",
                f"{max(one['lost_percent'] for one in cases[:-1]):.1f}",
            ]
        )
    head = [
        "collector",
        *(f"CPU ms for 1,000 kept lines: {rate}" for rate in RATES),
        *("lines/s kept at full speed", "lost %", "CPU %", "lost below, %"),
    ]
    note = (
        "CPU of the process that collects: master, supervisord, cat. pyfpm bounds what a pool may"
        " have written, for it does other things too; what is beyond is dropped and counted."
    )
    title = "What an application prints: lines of 80 bytes, a write each"
    return Table(title, head, rows, [note], {"medians": middle, "rounds": measured})
