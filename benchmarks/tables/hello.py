"""The smallest request, all responders: what the server itself costs."""

from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import Figures, Run, SideBySide, Table, medians, run_rounds, side_by_side
from benchmarks.load import describe_errors
from benchmarks.peers import App, Starter

WORKERS = 2
EXPECTED = "Hello from pyfpm! You asked for /\n"
MEASURE = "uWSGI, FastCGI"  # whom the others are compared with
LIMIT = "C, kept"


def starters(apps: Path) -> dict[str, Starter]:
    app = App("hello:app", apps)
    php = apps / "hello.php"
    return {
        "pyfpm, kept": partial(peers.pyfpm, app, WORKERS),
        "pyfpm, closed": partial(peers.pyfpm, app, WORKERS, kept=False),
        "pyfpm plain, kept": partial(peers.pyfpm, app, WORKERS, pure=True),
        "pyfpm plain, closed": partial(peers.pyfpm, app, WORKERS, kept=False, pure=True),
        LIMIT: partial(peers.c_responder, WORKERS, kept=True),
        "C, closed": partial(peers.c_responder, WORKERS, kept=False),
        MEASURE: partial(peers.uwsgi, app, WORKERS),
        "uWSGI, uwsgi protocol": partial(peers.uwsgi, app, WORKERS, "uwsgi"),
        "PHP-FPM, kept": partial(peers.php_fpm, php, WORKERS, kept=True),
        "PHP-FPM, closed": partial(peers.php_fpm, php, WORKERS, kept=False),
        "granian, HTTP": partial(peers.granian, app, WORKERS),
        "gunicorn sync, HTTP": partial(peers.gunicorn, app, WORKERS),
        "mod_wsgi daemon, HTTP": partial(peers.mod_wsgi, app, WORKERS),
        "flup6, closed": partial(peers.flup, app, WORKERS),
    }


def measure(run: Run, apps: Path) -> Table:
    with side_by_side(run, starters(apps), EXPECTED) as side:
        for name in side.responders:
            side.load(name, 1)
        for counted in side.errors.values():
            counted.clear()
        measured = run_rounds(run, list(side.responders), lambda name: side.load(name, run.seconds))
        handed = count_handed_over(side)
        return tell(medians(measured), measured, [*describe_errors(side.errors), *handed])


def count_handed_over(side: SideBySide) -> list[str]:
    """Which share of requests on kept connections went to another worker."""
    fpm = side.responders["pyfpm, kept"].fpm if "pyfpm, kept" in side.responders else None
    if fpm is None:
        return []
    status = fpm.status("bench")
    handed, served = status["handed off connections"], status["accepted conn"]
    share = handed / max(served, 1)
    return [f"pyfpm handed {share:.2%} of the requests on kept connections to another worker."]


def tell(middle: dict[str, Figures], measured: object, notes: list[str]) -> Table:
    by_rate = sorted(middle, key=lambda name: -middle[name]["rate"])
    return Table(
        f"Hello: {WORKERS} workers, 32 connections",
        [
            *("responder", "requests/s", f"of {MEASURE}", f"of {LIMIT}"),
            *("p50 ms", "p99 ms", "CPU µs/request"),
        ],
        [
            [
                name,
                f"{middle[name]['rate']:,.0f}",
                relate(middle, name, MEASURE),
                relate(middle, name, LIMIT),
                f"{middle[name]['p50_ms']:.2f}",
                f"{middle[name]['p99_ms']:.2f}",
                f"{middle[name]['cpu_us']:.1f}",
            ]
            for name in by_rate
        ],
        notes,
        {"medians": middle, "rounds": measured},
    )


def relate(middle: dict[str, Figures], name: str, other: str) -> str:
    """The rate as a multiple of the other's; nothing where that is missing."""
    return f"{middle[name]['rate'] / middle[other]['rate']:.2f}" if other in middle else "–"
