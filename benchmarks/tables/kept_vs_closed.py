"""Do kept connections cost throughput when some requests are slow?

Eight workers, seven clients, one request in ten takes 100 ms and the others 1 ms. With closed
connections the kernel gives each request to a free worker; that is the measure. A kept connection
is parked at one worker, so a request on it may wait behind a slow one, unless the connection is
handed over. The clients speak FastCGI themselves: no web server stands between.
"""

import random
import threading
import time
from pathlib import Path

from harness.fcgi_client import FcgiClient

from benchmarks import peers
from benchmarks.bench import Figures, Run, Table, medians, run_rounds
from benchmarks.peers import App

WORKERS, CLIENTS = 8, 7


class Clients:
    """Threads that send one request after the other until the time is over."""

    def __init__(self, address: str, *, kept: bool, seconds: float, seed: int) -> None:
        self._address, self._kept, self._seed = address, kept, seed
        self._until = time.monotonic() + seconds
        self._counts: list[int] = []

    def run(self) -> float:
        """Requests a second over all of them."""
        threads = [threading.Thread(target=self._run_one, args=(n,)) for n in range(CLIENTS)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(self._counts) != CLIENTS:
            raise RuntimeError("a client failed")
        return sum(self._counts) / (time.monotonic() - started)

    def _run_one(self, number: int) -> None:
        dice = random.Random(self._seed * 100 + number)
        client = FcgiClient(self._address)
        served = 0
        while time.monotonic() < self._until:
            uri = f"/sleep?s={0.1 if dice.random() < 0.1 else 0.001}"
            response = client.request(uri, keep=self._kept)
            if not response.complete or response.status != 200:
                raise RuntimeError(f"a request failed: {response}")
            served += 1
            if not self._kept:
                client.close()
                client = FcgiClient(self._address)
        client.close()
        self._counts.append(served)


def measure(run: Run, apps: Path) -> Table:
    seeds = {"closed": 0, "kept": 0}  # both ways see the same dice in each round
    with peers.pyfpm(App("torture:app", apps), WORKERS) as pool:
        assert pool.fpm is not None

        def measure_way(way: str) -> Figures:
            seeds[way] += 1
            clients = Clients(
                pool.route.address, kept=way == "kept", seconds=run.seconds, seed=seeds[way]
            )
            return {"rate": clients.run()}

        measured = run_rounds(run, ["closed", "kept"], measure_way)
        handed = pool.fpm.status("bench")["handed off connections"]
    middle = medians(measured)
    closed = middle["closed"]["rate"]
    rows = [
        [way, f"{one['rate']:,.0f}", f"{one['rate'] / closed:.3f}"] for way, one in middle.items()
    ]
    return Table(
        f"Kept and closed connections: {WORKERS} workers, {CLIENTS} clients, "
        "one request in ten takes 100 ms",
        ["connections", "requests/s", "of closed"],
        rows,
        [f"{handed:,} connections were handed over."],
        {"medians": middle, "rounds": measured, "handed_off": handed},
    )
