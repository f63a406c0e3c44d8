"""How long a Django site takes to its first answer: from nothing, and from an idle pool."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.http_client import HttpClient
from harness.machine import wait_until

from benchmarks import peers
from benchmarks.bench import Run, Table
from benchmarks.front import running_front, wait_until_answered
from benchmarks.peers import App, Starter
from benchmarks.site import EXPECTED, cold, make_site

WORKERS, WAKES = 2, 10


def measure(run: Run, apps: Path) -> Table:
    site = make_site(apps)
    figures: dict[str, list[float]] = {}
    rounds = min(run.rounds, 5)
    for name, start in boots(site).items():
        try:
            figures[name] = [time_boot(start) for _ in range(rounds)]
        except (OSError, peers.MissingError) as error:
            run.miss(name, str(error))
    figures.update(time_wakes(site, "ondemand pool"))
    figures.update(time_wakes(cold(site), "ondemand pool, cold"))
    rows = [
        [name, f"{statistics.median(times) * 1000:,.1f}", f"{max(times) * 1000:,.1f}"]
        for name, times in figures.items()
    ]
    return Table(
        "Time to the first answer of a Django site",
        ["what", "median ms", "longest ms"],
        rows,
        [
            f"Boots: {rounds}, {WORKERS} workers.",
            f"First requests: {WAKES}, each after a second without any worker.",
            "cold: the site answers no request of its own while it boots; the first loads Django.",
        ],
        {"seconds": figures, "medians": {n: statistics.median(t) for n, t in figures.items()}},
    )


def boots(site: App) -> dict[str, Starter]:
    return {
        "boot of pyfpm": partial(peers.pyfpm, site, WORKERS, wait_ready=False),
        "boot of uWSGI": partial(peers.uwsgi, site, WORKERS),
        "boot of gunicorn": partial(peers.gunicorn, site, WORKERS),
    }


def time_boot(start: Starter) -> float:
    """From the start of the program to the first page; nginx starts meanwhile."""
    begun = time.monotonic()
    with start() as responder, running_front({"site": responder.route}) as front:
        wait_until_answered(f"{front.urls['site']}/", EXPECTED, interval_s=0.002)
        return time.monotonic() - begun


def time_wakes(site: App, name: str) -> dict[str, list[float]]:
    """First and second requests of an ondemand pool whose zygote lives."""
    options = {"pm": "ondemand", "pm.process_idle_timeout": "1s"}
    first, second = [], []
    with (
        peers.pyfpm(site, WORKERS, options=options) as responder,
        running_front({"site": responder.route}) as front,
    ):
        assert responder.fpm is not None
        url = front.urls["site"]
        client = HttpClient(int(url.rpartition(":")[2]))
        wait_until_answered(f"{url}/", EXPECTED)
        for _ in range(WAKES):
            wait_until(partial(has_no_worker, responder.fpm.pool_status), timeout_s=30)
            time.sleep(1)
            first.append(time_request(client))
            second.append(time_request(client))
    return {f"first request of an {name}": first, f"second request of an {name}": second}


def has_no_worker(pool_status: Callable[[str], dict[str, int]]) -> bool:
    return pool_status("bench")["total processes"] == 0


def time_request(client: HttpClient) -> float:
    begun = time.monotonic()
    answer = client.get("/")
    ended = time.monotonic()
    if answer.status != 200 or EXPECTED not in answer.text:
        raise RuntimeError(f"not the page: {answer}")
    return ended - begun
