"""Does a slow request delay fast ones?

Eight workers and 64 connections with fast requests: alone; beside 16 connections with requests of
100 ms, more than there are workers; and while two workers, a quarter, are blocked for the whole
time by one request each.
"""

import contextlib
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import Figures, Run, SideBySide, Table, medians, run_rounds, side_by_side
from benchmarks.load import describe_errors, finish_wrk, start_wrk
from benchmarks.peers import App, Starter

WORKERS, FAST, SLOW, BLOCKED = 8, 64, 16, 2
ALONE, BESIDE, QUARTER = "alone", "beside slow", "quarter blocked"


@contextlib.contextmanager
def slow_connections(url: str, seconds: int) -> Iterator[None]:
    """Requests of 100 ms, from before the fast ones begin until after they end."""
    process = start_wrk(f"{url}?s=0.1", seconds + 2, SLOW)
    try:
        time.sleep(1)
        yield
    finally:
        finish_wrk(process)


@contextlib.contextmanager
def blocked_workers(url: str, seconds: int) -> Iterator[None]:
    """A quarter of the workers is in one request the whole time."""
    threads = [
        threading.Thread(target=read, args=(f"{url}?s={seconds + 2}",)) for _ in range(BLOCKED)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def read(url: str) -> None:
    with urllib.request.urlopen(url, timeout=600) as answer:
        answer.read()


COMPANIES: dict[str, Callable[[str, int], AbstractContextManager[None]]] = {
    ALONE: lambda _url, _seconds: contextlib.nullcontext(),
    BESIDE: slow_connections,
    QUARTER: blocked_workers,
}


def starters(apps: Path) -> dict[str, Starter]:
    app = App("torture:app", apps)
    return {
        "pyfpm, kept": partial(peers.pyfpm, app, WORKERS),
        "pyfpm, closed": partial(peers.pyfpm, app, WORKERS, kept=False),
        "uWSGI, FastCGI": partial(peers.uwsgi, app, WORKERS),
        "gunicorn sync, HTTP": partial(peers.gunicorn, app, WORKERS),
        "PHP-FPM, closed": partial(peers.php_fpm, apps, WORKERS, kept=False),
    }


def measure(run: Run, apps: Path) -> Table:
    with side_by_side(run, starters(apps), "\n", path="/pid") as side:
        cases = [f"{name} | {company}" for name in side.responders for company in COMPANIES]
        rounds = min(run.rounds, 3)  # of many cases, and each takes longer than its load
        measured = run_rounds(
            run, cases, lambda case: measure_case(side, case, run.seconds), rounds
        )
        notes = describe_errors(side.errors)
    return tell(medians(measured), list(side.responders), notes, measured)


def measure_case(side: SideBySide, case: str, seconds: int) -> Figures:
    name, _, company = case.partition(" | ")
    with COMPANIES[company](f"{side.urls[name]}/sleep", seconds):
        return side.load(name, seconds, FAST, "/pid")


def tell(middle: dict[str, Figures], names: list[str], notes: list[str], measured: object) -> Table:
    rows = []
    for name in names:
        alone, beside, quarter = (middle[f"{name} | {company}"] for company in COMPANIES)
        rows.append(
            [
                name,
                *(f"{one['rate']:,.0f}" for one in (alone, beside, quarter)),
                *(f"{one['p99_ms']:.1f}" for one in (alone, beside, quarter)),
                f"{quarter['p99_ms'] / alone['p99_ms']:.2f}",
            ]
        )
    head = [
        "responder",
        *("fast/s alone", f"beside {SLOW} slow", "¼ blocked"),
        *("p99 ms alone", f"beside {SLOW} slow", "¼ blocked", "¼ blocked / alone"),
    ]
    title = f"Slow and fast together: {WORKERS} workers, {FAST} fast connections"
    return Table(title, head, rows, notes, {"medians": middle, "rounds": measured})
