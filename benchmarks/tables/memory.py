"""What a worker of a Django site weighs, with everything that it needs beside it counted in."""

import time
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import Figures, Run, Table, side_by_side
from benchmarks.family import Family
from benchmarks.peers import App, Starter
from benchmarks.site import EXPECTED, cold, make_site

SIZES = (8, 32)
REQUESTS = 200  # for each worker
PATIENCE_S = 120
NOTES = (
    "PSS divides each shared page among those that share it.",
    "What the workers are forked from is divided among them: pyfpm's zygote, uWSGI's master.",
    "A master that holds no application is not, pyfpm's and gunicorn's; the last column has it.",
    "cold: the site answers no request of its own while it boots.",
)


def starters(site: App, workers: int) -> dict[str, Starter]:
    return {
        "pyfpm": partial(peers.pyfpm, site, workers),
        "uWSGI, preforking": partial(peers.uwsgi, site, workers),
        "gunicorn, no preload": partial(peers.gunicorn, site, workers),
        "pyfpm, cold": partial(peers.pyfpm, cold(site), workers),
        "uWSGI, preforking, cold": partial(peers.uwsgi, cold(site), workers),
    }


def measure(run: Run, apps: Path) -> Table:
    """One peer at a time: libraries that two have in common would weigh half in both."""
    site = make_site(apps)
    figures: dict[str, dict[str, Figures]] = {}
    for workers in SIZES:
        for name, start in starters(site, workers).items():
            found = weigh(run, name, start, workers)
            if found:
                figures.setdefault(name, {})[str(workers)] = found
                run.say(f"  {name}, {workers} workers: {found['per_worker_mib']:.1f} MiB each")
    rows = [
        [
            name,
            *(cell for size in SIZES for cell in describe(figures, name, str(size))),
        ]
        for name in figures
    ]
    columns = [
        text
        for size in SIZES
        for text in (f"{size} workers: each, MiB", "pyfpm's of that", "with a bare master")
    ]
    return Table(
        f"Memory of a Django site (PSS) after {REQUESTS} requests a worker",
        ["responder", *columns],
        rows,
        NOTES,
        {"pss": figures},
    )


def describe(figures: dict[str, dict[str, Figures]], name: str, size: str) -> list[str]:
    one, ours = figures[name].get(size), figures.get("pyfpm", {}).get(size)
    if one is None:
        return ["–", "–", "–"]
    ratio = f"{ours['per_worker_mib'] / one['per_worker_mib']:.2f}" if ours else "–"
    whole = one["total_mib"] / int(size)
    return [f"{one['per_worker_mib']:.1f}", ratio, f"{whole:.1f}"]


def weigh(run: Run, name: str, start: Starter, workers: int) -> Figures | None:
    with side_by_side(run, {name: start}, EXPECTED) as side:
        if name not in side.responders:
            return None
        responder = side.responders[name]
        served, deadline = 0.0, time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and (
            served < REQUESTS * workers or least_requests(responder) < REQUESTS
        ):
            served += side.load(name, 1, connections=2 * workers)["requests"]
        if served < REQUESTS * workers:
            run.miss(name, f"only {served:,.0f} requests for {workers} workers")
            return None
        time.sleep(1)  # what ends after the last answer has ended
        family = Family(responder.pid)
        total_mib = family.pss_bytes() / 2**20
        # uWSGI has loaded the application in its master, before the fork.
        bare_mib = 0.0 if name.startswith("uWSGI") else family.first_pss_bytes() / 2**20
        return {
            "total_mib": total_mib,
            "per_worker_mib": (total_mib - bare_mib) / workers,
            "processes": family.count(),
            "requests": served,
        }


def least_requests(responder: peers.Responder) -> int:
    """What the idlest worker has served; the others tell nobody."""
    if responder.fpm is None:
        return REQUESTS
    status = responder.fpm.pool_status("bench", full=True)
    return min(process["requests"] for process in status["processes"])
