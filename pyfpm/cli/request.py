"""`pyfpm request`: one request to a FastCGI responder."""

import io
import os
import sys
from typing import BinaryIO

import click

from pyfpm.cli.help import example
from pyfpm.cli.numbers import seconds
from pyfpm.cli.responder import address_argument, ask, request_params
from pyfpm.config.addresses import Address
from pyfpm.errors import reason_of
from pyfpm.front import ReplyHead

FORM = b"application/x-www-form-urlencoded"


@click.command(
    "request",
    short_help="Send one request to a FastCGI responder.",
    epilog=example(
        "pyfpm request unix:/run/pyfpm/shop.sock '/basket?full=1' -H 'Cookie: id=7'",
        "pyfpm request 127.0.0.1:9000 /upload -d @photo.jpg -H 'Content-Type: image/jpeg'",
        "pyfpm request /run/php/php-fpm.sock / --param SCRIPT_FILENAME=/srv/index.php",
    ),
)
@address_argument
@click.argument("uri")
@click.option("-X", "method", help="Request method; GET, or POST with -d, unless given.")
@click.option("-d", "data", metavar="DATA|@FILE", help="Request body; @FILE its file, @- stdin.")
@click.option("-H", "headers", metavar="'NAME: VALUE'", multiple=True, help="Request header.")
@click.option("--param", "params", metavar="NAME=VALUE", multiple=True, help="CGI variable.")
@click.option("-i", "include", is_flag=True, help="Print the head before the body, on stdout.")
@click.option(
    "--timeout", type=seconds, default=60.0, show_default=True, help="Seconds of silence."
)
def command(
    address: Address,
    uri: str,
    method: str | None,
    data: str | None,
    headers: tuple[str, ...],
    params: tuple[str, ...],
    *,
    include: bool,
    timeout: float,
) -> None:
    """Send one request to a FastCGI responder and print its answer.

    The body goes to stdout, the head to stderr. Exit code 0 for any complete answer, whatever its
    HTTP status; 1 if there is none or it breaks FastCGI or CGI.
    """
    if not uri.startswith("/"):
        raise click.BadParameter("must begin with /", param_hint="URI")
    variables = request_params(method or ("GET" if data is None else "POST"), uri)
    with _open_body(data) as body:
        if data is not None:
            variables["CONTENT_LENGTH"] = str(_size(body)).encode()
            variables["CONTENT_TYPE"] = FORM
        variables |= parse_headers(headers)
        variables |= parse_params(params)
        answer = ask(address, variables, body, timeout_s=timeout)
        click.echo(render_head(answer.head), nl=False, err=not include)
        for piece in answer.body:
            click.echo(piece, nl=False)


def parse_headers(headers: tuple[str, ...]) -> dict[str, bytes]:
    """Request headers as the CGI variables that carry them; repeated ones are joined."""
    variables: dict[str, bytes] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"{header!r} is not 'Name: value'", param_hint="-H")
        variable = name.strip().upper().replace("-", "_")
        if variable not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            variable = f"HTTP_{variable}"
        data = os.fsencode(value.strip())
        variables[variable] = (
            b", ".join((variables[variable], data)) if variable in variables else data
        )
    return variables


def parse_params(params: tuple[str, ...]) -> dict[str, bytes]:
    """CGI variables given as they are."""
    variables: dict[str, bytes] = {}
    for param in params:
        name, equals, value = param.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{param!r} is not NAME=VALUE", param_hint="--param")
        variables[name] = os.fsencode(value)
    return variables


def render_head(head: ReplyHead) -> str:
    """Status and headers, with the empty line that ends them."""
    lines = [f"Status: {head.status_line}", *(f"{name}: {value}" for name, value in head.headers)]
    return "\n".join(lines) + "\n\n"


def _open_body(data: str | None) -> BinaryIO:
    if data is None or not data.startswith("@"):
        return io.BytesIO(os.fsencode(data or ""))
    if data == "@-":
        # Its length must be known before it is sent, and a pipe has none.
        return io.BytesIO(sys.stdin.buffer.read())
    try:
        return open(data[1:], "rb")  # the caller closes it
    except OSError as error:
        raise click.BadParameter(f"{data[1:]}: {reason_of(error)}", param_hint="-d") from None


def _size(body: BinaryIO) -> int:
    size = body.seek(0, io.SEEK_END)
    body.seek(0)
    return size
