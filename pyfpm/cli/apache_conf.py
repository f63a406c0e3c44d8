"""`pyfpm apache-conf`: a virtual host for Apache."""

import re

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.webserver import idle_seconds, list_own_pages, make_site_name, order_addresses
from pyfpm.config import Address, PoolOptions, TcpAddress, UnixAddress

TEMPLATE = """\
# Pool {pool}. For Apache 2.4 with: a2enmod proxy_fcgi headers
<VirtualHost *:80>
    # The name of the site. Apache goes by it: what comes under a name that no virtual host has goes
    # to the first one.
    ServerName {site}

    # Connections to the pool are kept, for less time (ttl) than the pool keeps them; a failed one
    # is tried again at once (retry); a streamed response is passed on as it comes (flushpackets).
{others}{passes}
    # When Apache got the request, for the time that it waited for a worker.
    RequestHeader set X-Request-Start "%t"

    <Location "{path}">
        ProxyFCGISetEnvIf "true" REQUEST_START "%{{HTTP:X-Request-Start}}"
        ProxyFCGISetEnvIf "true" !HTTP_X_REQUEST_START
        # Plain paths in SCRIPT_FILENAME.
        ProxyFCGIBackendType GENERIC
        # Let the application see the Authorization header.
        CGIPassAuth On
    </Location>
{own_pages}{body_size}
    # For an application with %2F in its paths, with path_info = request_uri in the pool:
    # AllowEncodedSlashes NoDecode
</VirtualHost>
"""

ROUTE = (
    '    ProxyPass "{path}" "{backend}{path}" enablereuse=on ttl={idle_s} retry=0 flushpackets=on\n'
)

OWN_PAGES = """\

    # Pages of the pool itself, for this machine only: add who watches it. Behind a proxy on this
    # machine every client has its address (mod_remoteip tells them apart).
    <LocationMatch "^({pattern})$">
        Require local
    </LocationMatch>
"""


@click.command(
    "apache-conf",
    short_help="Print a virtual host for Apache.",
    epilog=example("pyfpm apache-conf shop > /etc/apache2/sites-available/shop.conf"),
)
@click.argument("pool")
@click.pass_obj
def command(invocation: Invocation, pool: str) -> None:
    """Print a virtual host for Apache that passes everything to POOL.

    Replace its ServerName, POOL.example.com, by the name of the site. The pool's status and ping
    pages are for this machine only.
    """
    click.echo(render_apache(invocation.load_pool(pool)), nl=False)


def render_apache(pool: PoolOptions) -> str:
    """The virtual host; mod_proxy_fcgi sets the CGI variables by itself."""
    first, *others = (_backend(address, pool.name) for address in order_addresses(pool))
    own = list_own_pages(pool)
    return TEMPLATE.format(
        pool=pool.name,
        site=make_site_name(pool),
        path=pool.mount or "/",
        passes="".join(
            ROUTE.format(path=path, backend=first, idle_s=idle_seconds(pool))
            for path in _passed_paths(pool, own)
        ),
        others="".join(f"    # The pool listens here too: {other}\n" for other in others),
        own_pages=OWN_PAGES.format(pattern="|".join(map(re.escape, own))) if own else "",
        body_size=(
            f"    LimitRequestBody {pool.request_max_body}\n" if pool.request_max_body else ""
        ),
    )


def _passed_paths(pool: PoolOptions, own: list[str]) -> list[str]:
    """What ProxyPass covers: the mount with all below it, and pages of the pool beside it."""
    below = f"{pool.mount}/"
    return [pool.mount or "/", *(x for x in own if not f"{x}/".startswith(below))]


def _backend(address: Address, pool: str) -> str:
    match address:
        case UnixAddress(path):
            # The host after the bar is no address: it tells connections of one pool from another's.
            return f"unix:{path}|fcgi://{pool}"
        case TcpAddress(host, port):
            return (
                f"fcgi://[{host}]:{port}" if ":" in host else f"fcgi://{host or '127.0.0.1'}:{port}"
            )
