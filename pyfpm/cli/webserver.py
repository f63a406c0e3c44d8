"""What the configurations for nginx and Apache have in common."""

from pyfpm.config import Address, PoolOptions, UnixAddress

WEB_SERVER_IDLE_S = 60


def order_addresses(pool: PoolOptions) -> list[Address]:
    """Unix sockets first: faster, and nobody else can reach them."""
    return sorted(pool.listen, key=lambda address: not isinstance(address, UnixAddress))


def idle_seconds(pool: PoolOptions) -> int:
    """How long a web server may keep an idle connection to the pool.

    Less than the pool's keepalive_timeout: a web server that reuses a connection at the moment at
    which the pool closes it loses the request.
    """
    return max(1, min(WEB_SERVER_IDLE_S, int(pool.keepalive_timeout * 0.8)))
