"""Do thousands of silent connections delay everybody else?

Four workers and 32 connections with small requests: alone; beside 5,000 connections to the same
socket that send nothing, half a BEGIN record or half of their parameters, and 200 that send a byte
a second of a head or a body; and the same, with whoever is closed coming back, 500 a second. A
round begins before the others connect, so that their coming is in it.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from harness.flood import Flood

from benchmarks import peers
from benchmarks.bench import Figures, Run, SideBySide, Table, medians, run_rounds, side_by_side
from benchmarks.family import Family
from benchmarks.load import describe_errors
from benchmarks.peers import App, Starter

WORKERS, CONNECTIONS, AGAIN = 4, 32, 500
CLIENTS = {
    "silent": 1700,
    "half_begin": 1700,
    "half_params": 1600,
    "slow_head": 100,
    "slow_body": 100,
}
ALONE, BESIDE, COMING_BACK = "alone", "beside 5,200", "coming back"
_SETTLED_S = 0.5
EXPECTED = "Hello from pyfpm! You asked for /\n"


@contextlib.contextmanager
def flooded(address: str, again: float = 0) -> Iterator[None]:
    """The flood begins a moment after the load, and lasts longer."""
    flood = Flood(address, again=again, **CLIENTS)
    timer = threading.Timer(_SETTLED_S, flood.__enter__)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        flood.__exit__(None, None, None)


COMPANIES: dict[str, Callable[[str], AbstractContextManager[None]]] = {
    ALONE: lambda _address: contextlib.nullcontext(),
    BESIDE: flooded,
    COMING_BACK: partial(flooded, again=AGAIN),
}


def starters(apps: Path) -> dict[str, Starter]:
    app = App("hello:app", apps)
    return {
        "pyfpm, kept": partial(peers.pyfpm, app, WORKERS),
        "pyfpm, closed": partial(peers.pyfpm, app, WORKERS, kept=False),
        "uWSGI, FastCGI": partial(peers.uwsgi, app, WORKERS),
        "gunicorn sync, HTTP": partial(peers.gunicorn, app, WORKERS),
    }


def measure(run: Run, apps: Path) -> Table:
    with side_by_side(run, starters(apps), EXPECTED) as side:
        cases = [f"{name} | {company}" for name in side.responders for company in COMPANIES]
        rounds = min(run.rounds, 3)  # each leaves connections behind that take a while to go
        measured = run_rounds(
            run, cases, lambda case: measure_case(side, case, run.seconds), rounds
        )
        notes = describe_errors(side.errors)
    return tell(medians(measured), list(side.responders), notes, measured)


def measure_case(side: SideBySide, case: str, seconds: int) -> Figures:
    name, _, company = case.partition(" | ")
    responder = side.responders[name]
    with COMPANIES[company](responder.route.address):
        figures = side.load(name, seconds, CONNECTIONS)
    return {**figures, "pss_mib": Family(responder.pid).pss_bytes() / 2**20}


def tell(middle: dict[str, Figures], names: list[str], notes: list[str], measured: object) -> Table:
    rows = []
    for name in names:
        cases = [middle[f"{name} | {company}"] for company in COMPANIES]
        rows.append(
            [
                name,
                *(f"{one['rate']:,.0f}" for one in cases),
                *(f"{one['p99_ms']:.1f}" for one in cases),
                f"{max(one['p99_ms'] for one in cases[1:]) / max(cases[0]['p99_ms'], 0.001):.2f}",
                *(f"{one['pss_mib']:.0f}" for one in (cases[0], cases[-1])),
            ]
        )
    head = [
        "responder",
        *("requests/s alone", BESIDE, COMING_BACK),
        *("p99 ms alone", BESIDE, COMING_BACK, "worst / alone"),
        *("PSS MiB after alone", "after both"),
    ]
    title = f"A flood of connections: {WORKERS} workers, {CONNECTIONS} connections with requests"
    return Table(title, head, rows, notes, {"medians": middle, "rounds": measured})
