"""`pyfpm trace`: what workers are doing at this moment."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.numbers import number
from pyfpm.cli.operation import visible


@click.command(
    "trace",
    short_help="Show what the workers of a pool are doing.",
    epilog=example("pyfpm trace shop", "pyfpm trace shop 4711"),
)
@click.argument("pool")
@click.argument("pid", type=number, required=False)
@click.pass_obj
def command(invocation: Invocation, pool: str, pid: int | None) -> None:
    """Print the stacks of the workers of POOL, or of the one with process id PID.

    Works without stopping them, and while one is blocked in C code.
    """
    with invocation.control_client() as client:
        text = client.call("trace", pool=pool, pid=pid)["text"]
    click.echo(visible(text), nl=not text.endswith("\n"))
