"""`pyfpm ping`: ask a FastCGI responder whether it answers."""

import io
import os
import time

import click

from pyfpm.cli.help import example
from pyfpm.cli.numbers import seconds
from pyfpm.cli.responder import address_argument, ask, request_params
from pyfpm.config.addresses import Address, format_address
from pyfpm.errors import PyfpmError

MAX_SHOWN_BYTES = 200


@click.command(
    "ping",
    short_help="Ask a FastCGI responder for its ping page.",
    epilog=example("pyfpm ping unix:/run/pyfpm/shop.sock", "pyfpm ping 127.0.0.1:9000"),
)
@address_argument
@click.option("--path", default="/ping", show_default=True, help="The responder's ping.path.")
@click.option("--timeout", type=seconds, default=5.0, show_default=True, help="Seconds to wait.")
def command(address: Address, path: str, timeout: float) -> None:
    """Ask a FastCGI responder, PHP-FPM or pyfpm, for its ping page.

    Exit code 0 if it answered with status 200, else 1.
    """
    started_s = time.monotonic()
    # PHP-FPM wants a SCRIPT_FILENAME before it looks at its own pages.
    params = request_params("GET", path) | {"SCRIPT_FILENAME": os.fsencode(path)}
    answer = ask(address, params, io.BytesIO(), timeout_s=timeout)
    body = b"".join(answer.body)
    elapsed_ms = (time.monotonic() - started_s) * 1000
    if answer.head.status != 200:
        raise PyfpmError(f"{format_address(address)}{path} answered {answer.head.status_line}")
    text = body[:MAX_SHOWN_BYTES].decode(errors="replace").strip()
    click.echo(f"{text} ({elapsed_ms:.1f} ms)")
