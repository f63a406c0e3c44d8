"""What the configurations for nginx and Apache have in common."""

import re

from pyfpm.config import Address, PoolOptions, SystemdAddress, UnixAddress
from pyfpm.errors import PyfpmError

WEB_SERVER_IDLE_S = 60


def order_addresses(pool: PoolOptions) -> list[Address]:
    """Unix sockets first: faster, and nobody else can reach them.

    PyfpmError for a pool that listens on nothing but sockets of systemd: only their unit knows
    where those are.
    """
    known = [address for address in pool.listen if not isinstance(address, SystemdAddress)]
    if not known:
        raise PyfpmError(
            f"pool {pool.name} listens where a socket unit of systemd says (ListenStream=); write"
            " that address in listen to have it printed, and change the result at will"
        )
    return sorted(known, key=lambda address: not isinstance(address, UnixAddress))


def idle_seconds(pool: PoolOptions) -> int:
    """How long a web server may keep an idle connection to the pool.

    Less than the pool's keepalive_timeout: a web server that reuses a connection at the moment at
    which the pool closes it loses the request.
    """
    return max(1, min(WEB_SERVER_IDLE_S, int(pool.keepalive_timeout * 0.8)))


def make_site_name(pool: PoolOptions) -> str:
    """A host name that the site's own replaces: no two pools should have the same."""
    return re.sub(r"\.+", ".", pool.name.lower()).rstrip(".") + ".example.com"


def list_own_pages(pool: PoolOptions) -> list[str]:
    """The URL paths that the pool answers itself, with numbers that are not for everybody."""
    return [path for path in (pool.pm_status_path, pool.ping_path) if path is not None]
