"""`pyfpm nginx-conf`: a server block for nginx."""

import re

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.webserver import idle_seconds, order_addresses
from pyfpm.config import Address, PoolOptions, TcpAddress, UnixAddress

TEMPLATE = """\
# Pool {pool}. For the http block of nginx, for example as /etc/nginx/conf.d/{pool}.conf
upstream {upstream} {{
    server {server};{others}

    # Connections to the pool are kept. nginx must let go of an idle one before the pool does
    # (keepalive_timeout in the pool), for it does not repeat a POST.
    keepalive 32;
    keepalive_timeout {idle_s}s;
}}

server {{
    listen 80;
    server_name _;

    # Without a limit here nginx has one of 1m.
    client_max_body_size {body_size};

    # Without it nginx asks for a new connection each time, and takes a response that broke off
    # midway for the whole.
    fastcgi_keep_conn on;
    fastcgi_buffer_size 16k;
    fastcgi_buffers 16 16k;

    fastcgi_param REQUEST_METHOD    $request_method;
    fastcgi_param REQUEST_URI       $request_uri;
    fastcgi_param QUERY_STRING      $query_string;
    fastcgi_param SCRIPT_NAME       "";
    fastcgi_param PATH_INFO         $fastcgi_script_name;
    fastcgi_param SCRIPT_FILENAME   $document_root$fastcgi_script_name;
    fastcgi_param DOCUMENT_ROOT     $document_root;
    fastcgi_param DOCUMENT_URI      $document_uri;
    fastcgi_param CONTENT_TYPE      $content_type;
    fastcgi_param CONTENT_LENGTH    $content_length;
    fastcgi_param SERVER_PROTOCOL   $server_protocol;
    fastcgi_param SERVER_SOFTWARE   nginx/$nginx_version;
    fastcgi_param GATEWAY_INTERFACE CGI/1.1;
    fastcgi_param REQUEST_SCHEME    $scheme;
    fastcgi_param HTTPS             $https if_not_empty;
    fastcgi_param SERVER_ADDR       $server_addr;
    fastcgi_param SERVER_PORT       $server_port;
    fastcgi_param SERVER_NAME       $server_name;
    fastcgi_param REMOTE_ADDR       $remote_addr;
    fastcgi_param REMOTE_PORT       $remote_port;
    fastcgi_param HTTP_HOST         $http_host;
    fastcgi_param HTTP_PROXY        "";
    # When nginx got the request, for the time that it waited for a worker.
    fastcgi_param REQUEST_START     $msec;

{locations}}}
"""

LOCATION = """\
    location {path} {{
        fastcgi_pass {upstream};
    }}
"""


@click.command(
    "nginx-conf",
    short_help="Print a server block for nginx.",
    epilog=example("pyfpm nginx-conf shop > /etc/nginx/conf.d/shop.conf"),
)
@click.argument("pool")
@click.pass_obj
def command(invocation: Invocation, pool: str) -> None:
    """Print a server block for nginx that passes everything to POOL."""
    click.echo(render_nginx(invocation.load_pool(pool)), nl=False)


def render_nginx(pool: PoolOptions) -> str:
    """Upstream and server block; stands alone, without fastcgi_params."""
    upstream = "pyfpm_" + re.sub(r"\W", "_", pool.name, flags=re.ASCII)
    first, *others = (_server(address) for address in order_addresses(pool))
    paths = ["= " + pool.mount, f"{pool.mount}/"] if pool.mount else ["/"]
    return TEMPLATE.format(
        pool=pool.name,
        upstream=upstream,
        server=first,
        others="".join(f"\n    # The pool listens here too: {other}" for other in others),
        idle_s=idle_seconds(pool),
        body_size=pool.request_max_body or "200m",
        locations="\n".join(LOCATION.format(path=path, upstream=upstream) for path in paths),
    )


def _server(address: Address) -> str:
    match address:
        case UnixAddress(path):
            text = f"unix:{path}"
        case TcpAddress(host, port):
            text = f"[{host}]:{port}" if ":" in host else f"{host or '127.0.0.1'}:{port}"
    if re.search(r"[\s;{}\"'\\#]", text):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return text
