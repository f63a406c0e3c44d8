"""`pyfpm apache-conf`: a virtual host for Apache."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.webserver import idle_seconds, order_addresses
from pyfpm.config import Address, PoolOptions, TcpAddress, UnixAddress

TEMPLATE = """\
# Pool {pool}. For Apache 2.4 with: a2enmod proxy_fcgi headers
<VirtualHost *:80>
    ServerName {pool}.example.com

    # Connections to the pool are kept, for less time (ttl) than the pool keeps them; a failed one
    # is tried again at once (retry); a streamed response is passed on as it comes (flushpackets).
{others}    ProxyPass "{path}" "{backend}{path}" enablereuse=on ttl={idle_s} retry=0 flushpackets=on

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
{body_size}
    # For an application with %2F in its paths, with path_info = request_uri in the pool:
    # AllowEncodedSlashes NoDecode
</VirtualHost>
"""


@click.command(
    "apache-conf",
    short_help="Print a virtual host for Apache.",
    epilog=example("pyfpm apache-conf shop > /etc/apache2/sites-available/shop.conf"),
)
@click.argument("pool")
@click.pass_obj
def command(invocation: Invocation, pool: str) -> None:
    """Print a virtual host for Apache that passes everything to POOL."""
    click.echo(render_apache(invocation.load_pool(pool)), nl=False)


def render_apache(pool: PoolOptions) -> str:
    """The virtual host; mod_proxy_fcgi sets the CGI variables by itself."""
    first, *others = (_backend(address, pool.name) for address in order_addresses(pool))
    return TEMPLATE.format(
        pool=pool.name,
        path=pool.mount or "/",
        backend=first,
        others="".join(f"    # The pool listens here too: {other}\n" for other in others),
        idle_s=idle_seconds(pool),
        body_size=(
            f"    LimitRequestBody {pool.request_max_body}\n" if pool.request_max_body else ""
        ),
    )


def _backend(address: Address, pool: str) -> str:
    match address:
        case UnixAddress(path):
            # The host after the bar is no address: it tells connections of one pool from another's.
            return f"unix:{path}|fcgi://{pool}"
        case TcpAddress(host, port):
            return (
                f"fcgi://[{host}]:{port}" if ":" in host else f"fcgi://{host or '127.0.0.1'}:{port}"
            )
