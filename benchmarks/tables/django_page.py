"""A page of a real framework: how much of the hello table is left where the application works."""

from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import Run, Table, medians, run_rounds, side_by_side
from benchmarks.load import describe_errors
from benchmarks.site import EXPECTED, make_site

WORKERS = 2


def measure(run: Run, apps: Path) -> Table:
    site = make_site(apps)
    starters = {
        "pyfpm, kept": partial(peers.pyfpm, site, WORKERS),
        "pyfpm, closed": partial(peers.pyfpm, site, WORKERS, kept=False),
        "uWSGI, FastCGI": partial(peers.uwsgi, site, WORKERS),
        "uWSGI, uwsgi protocol": partial(peers.uwsgi, site, WORKERS, "uwsgi"),
        "gunicorn sync, HTTP": partial(peers.gunicorn, site, WORKERS),
    }
    with side_by_side(run, starters, EXPECTED) as side:
        for name in side.responders:
            side.load(name, 1)
        names = list(side.responders)
        measured = run_rounds(run, names, lambda name: side.load(name, run.seconds))
        notes = describe_errors(side.errors)
    middle = medians(measured)
    rows = [
        [
            name,
            f"{one['rate']:,.0f}",
            f"{one['p50_ms']:.1f}",
            f"{one['p99_ms']:.1f}",
            f"{one['cpu_us']:,.0f}",
        ]
        for name, one in sorted(middle.items(), key=lambda item: -item[1]["rate"])
    ]
    head = ["responder", "requests/s", "p50 ms", "p99 ms", "CPU µs/request"]
    title = f"A Django page: {WORKERS} workers, 32 connections"
    return Table(title, head, rows, notes, {"medians": middle, "rounds": measured})
