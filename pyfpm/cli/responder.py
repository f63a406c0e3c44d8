"""What `ping` and `request` share: an address as an argument, and one request to it."""

import os
from collections.abc import Mapping
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

import click

from pyfpm import __version__
from pyfpm.config.addresses import Address, SystemdAddress, TcpAddress, parse_address
from pyfpm.front import Answer, Exchange, connect, read_answer


def _convert(ctx: click.Context, param: click.Parameter, value: str) -> Address:
    try:
        address = parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    if isinstance(address, SystemdAddress):
        raise click.BadParameter(f"{value!r} is a name; ask at the socket's address", ctx, param)
    if isinstance(address, TcpAddress) and not address.host:
        return TcpAddress("localhost", address.port)
    return address


# A FastCGI listener: `unix:/path`, `/path`, `host:port`, `[::1]:port` or a port of this machine.
address_argument = click.argument("address", callback=_convert)


def request_params(method: str, uri: str) -> dict[str, bytes]:
    """The CGI variables of a request as nginx's default configuration sends them.

    SCRIPT_NAME is the decoded path and PATH_INFO is absent, which PHP-FPM and pyfpm both read
    right.
    """
    path, _, query = uri.partition("?")
    return {
        "GATEWAY_INTERFACE": b"CGI/1.1",
        "SERVER_SOFTWARE": f"pyfpm/{__version__}".encode(),
        "SERVER_PROTOCOL": b"HTTP/1.1",
        "SERVER_NAME": b"localhost",
        "SERVER_PORT": b"80",
        "REMOTE_ADDR": b"127.0.0.1",
        "REMOTE_PORT": b"0",
        "REQUEST_SCHEME": b"http",
        "REQUEST_METHOD": os.fsencode(method),
        "REQUEST_URI": os.fsencode(uri),
        "QUERY_STRING": os.fsencode(query),
        "SCRIPT_NAME": unquote_to_bytes(os.fsencode(path)),
        "HTTP_HOST": b"localhost",
    }


def ask(
    address: Address, params: Mapping[str, bytes], body: BinaryIO, *, timeout_s: float
) -> Answer:
    """Send the request and read the head of the answer; STDERR of the responder goes to ours.

    Raises ResponderError, ResponseError or ProtocolError, all of them PyfpmError.
    """
    sock = connect(address, timeout_s)
    pairs = [(os.fsencode(name), value) for name, value in params.items()]
    exchange = Exchange(sock, pairs, body, timeout_s=timeout_s)
    return read_answer(exchange, lambda data: click.echo(data, nl=False, err=True))
