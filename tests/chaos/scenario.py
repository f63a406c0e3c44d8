"""What every chaos test begins with: its dice, its length, and a pool behind nginx under load."""

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

from harness.load import ECHO_APP, Load, site
from harness.master import Pyfpm
from harness.web_servers import Nginx

SEED = int(os.environ.get("PYFPM_CHAOS_SEED", "1"))
LONG = os.environ.get("PYFPM_CHAOS_LONG", "") == "1"


def roll(name: str) -> random.Random:
    """Return the dice of one test and print what repeats them."""
    how = f"make chaos SEED={SEED}" if LONG else f"PYFPM_CHAOS_SEED={SEED} make test"
    print(f"this again: {how} PYTEST_ARGS='-k {name}'")
    return random.Random(f"{SEED} {name}")


def pool(*more: str, pm: str = "dynamic", most: int = 6, app: str = "echo_app") -> str:
    """Make a pool of the application that the load asks."""
    lines = [
        "[pool:shop]",
        f"app = {app}:app",
        "listen = %(here)s/shop.sock",
        f"pm = {pm}",
        f"pm.max_children = {most}",
        *more,
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Served:
    """A master, the nginx before it and the load on both."""

    fpm: Pyfpm
    nginx: Nginx
    load: Load


@contextlib.contextmanager
def served(
    pools: str,
    dice: random.Random,
    *,
    connections: int = 16,
    rate: float = 0,
    largest: int = 200_000,
    timeout_s: float = 30,
    **options: object,
) -> Iterator[Served]:
    """Serve the pools, the one named shop through nginx and under load."""
    files = {"echo_app.py": ECHO_APP, **options.pop("files", {})}
    with (
        Pyfpm(pools, files=files, **options) as fpm,
        Nginx(site(fpm.address("shop.sock"))) as nginx,
        Load(
            nginx.port,
            seed=dice.randrange(1 << 30),
            connections=connections,
            rate=rate,
            largest=largest,
            timeout_s=timeout_s,
        ) as load,
    ):
        yield Served(fpm, nginx, load)
