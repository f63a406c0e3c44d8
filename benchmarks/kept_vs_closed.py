"""Do kept connections cost throughput when some requests are slow?

Eight workers, seven clients, one request in ten takes 100 ms and the others 1 ms. With closed
connections the kernel gives each request to a free worker; that is the measure. A kept connection
is parked at one worker, so a request on it may wait behind a slow one, unless the connection is
handed over. The clients speak FastCGI themselves: no web server stands between.
"""

import argparse
import random
import statistics
import sys
import threading
import time

from report import REPOSITORY, print_table, read_machine_facts, write_results

sys.path.insert(0, str(REPOSITORY))
sys.path.insert(0, str(REPOSITORY / "tests"))

from harness.fcgi_client import FcgiClient
from harness.master import Pyfpm

WORKERS, CLIENTS = 8, 7

POOL = f"""
[pool:mixed]
app = torture:app
listen = %(here)s/mixed.sock
pm = static
pm.max_children = {WORKERS}
"""


def run_client(address: str, *, kept: bool, seed: int, until: float, counts: list[int]) -> None:
    """Send one request after the other until the time is over."""
    dice = random.Random(seed)
    client = FcgiClient(address)
    served = 0
    while time.monotonic() < until:
        uri = f"/sleep?s={0.1 if dice.random() < 0.1 else 0.001}"
        response = client.request(uri, keep=kept)
        if not response.complete or response.status != 200:
            raise RuntimeError(f"a request failed: {response}")
        served += 1
        if not kept:
            client.close()
            client = FcgiClient(address)
    client.close()
    counts.append(served)


def measure(address: str, *, kept: bool, seconds: float, seed: int) -> float:
    """Requests a second over all clients."""
    until, counts = time.monotonic() + seconds, []
    clients = [
        threading.Thread(
            target=run_client,
            args=(address,),
            kwargs={"kept": kept, "seed": seed * 100 + number, "until": until, "counts": counts},
        )
        for number in range(CLIENTS)
    ]
    started = time.monotonic()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if len(counts) != CLIENTS:
        sys.exit("a client failed")
    return sum(counts) / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    facts = read_machine_facts()
    rates: dict[str, list[float]] = {"closed": [], "kept": []}
    with Pyfpm(POOL) as fpm:
        address = fpm.address("mixed.sock")
        for number in range(arguments.rounds):
            for way, measured in rates.items():
                rate = measure(address, kept=way == "kept", seconds=arguments.seconds, seed=number)
                measured.append(rate)
                print(f"round {number + 1} {way}: {rate:,.0f} requests/s")
        handed_off = fpm.status("mixed")["handed off connections"]
    medians = {way: statistics.median(measured) for way, measured in rates.items()}
    rows = [
        [way, f"{rate:,.0f}", f"{rate / medians['closed']:.3f}"] for way, rate in medians.items()
    ]
    print()
    print_table(["connections", "requests/s", "of closed"], rows)
    print(f"\nhanded over: {handed_off}")
    results = {
        "ratio": medians["kept"] / medians["closed"],
        "medians": medians,
        "rounds": rates,
        "handed_off": handed_off,
    }
    write_results("kept_vs_closed", facts, results)


if __name__ == "__main__":
    main()
