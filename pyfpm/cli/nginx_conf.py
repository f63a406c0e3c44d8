"""`pyfpm nginx-conf`: a server block for nginx."""

import re

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.webserver import idle_seconds, list_own_pages, make_site_name, order_addresses
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
    # The names of the site. nginx goes by them, so every server block needs its own; what comes
    # under a name that none has goes to the first block of that port.
    listen 80;
    server_name {site};

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

OWN_PAGE = """\
    location = {path} {{
        allow 127.0.0.1;
        allow ::1;
        deny all;
        fastcgi_pass {upstream};
    }}
"""

OWN_PAGES = """\

    # Pages of the pool itself, for this machine only: add who watches it. Behind a proxy on this
    # machine every client has its address (ngx_http_realip_module tells them apart).
{locations}"""


@click.command(
    "nginx-conf",
    short_help="Print a server block for nginx.",
    epilog=example("pyfpm nginx-conf shop > /etc/nginx/conf.d/shop.conf"),
)
@click.argument("pool")
@click.pass_obj
def command(invocation: Invocation, pool: str) -> None:
    """Print a server block for nginx that passes everything to POOL.

    Replace its server_name, POOL.example.com, by the names of the site. The pool's status and ping
    pages are for this machine only.
    """
    click.echo(render_nginx(invocation.load_pool(pool)), nl=False)


def render_nginx(pool: PoolOptions) -> str:
    """Upstream and server block; stands alone, without fastcgi_params."""
    upstream = f"pyfpm_{pool.name}"
    first, *others = (_server(address) for address in order_addresses(pool))
    return TEMPLATE.format(
        pool=pool.name,
        site=make_site_name(pool),
        upstream=upstream,
        server=first,
        others="".join(f"\n    # The pool listens here too: {other}" for other in others),
        idle_s=idle_seconds(pool),
        body_size=pool.request_max_body or "200m",
        locations=_locations(pool, upstream),
    )


def _locations(pool: PoolOptions, upstream: str) -> str:
    own = list_own_pages(pool)
    paths = [_quoted(f"{pool.mount}/")] if pool.mount else ["/"]
    if pool.mount and pool.mount not in own:
        paths.insert(0, f"= {_quoted(pool.mount)}")
    text = "\n".join(LOCATION.format(path=path, upstream=upstream) for path in paths)
    if own:
        pages = "\n".join(OWN_PAGE.format(path=path, upstream=upstream) for path in own)
        text += OWN_PAGES.format(locations=pages)
    return text


def _server(address: Address) -> str:
    match address:
        case UnixAddress(path):
            return _quoted(f"unix:{path}")
        case TcpAddress(host, port):
            return f"[{host}]:{port}" if ":" in host else f"{host or '127.0.0.1'}:{port}"


def _quoted(text: str) -> str:
    if not re.search(r"[\s;{}\"'\\#]", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
