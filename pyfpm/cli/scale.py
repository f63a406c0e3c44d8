"""`pyfpm scale`: more or fewer workers, for now."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.numbers import number
from pyfpm.cli.operation import run_operation


@click.command(
    "scale",
    short_help="Change a pool's number of workers until the next reload.",
    epilog=example("pyfpm scale shop 8"),
)
@click.argument("pool")
@click.argument("workers", metavar="N", type=number)
@click.pass_obj
def command(invocation: Invocation, pool: str, workers: int) -> None:
    """Set the number of workers of POOL to N, until its next reload.

    For a static pool N is how many there are, for others how many there may be: pm.max_children.
    Workers that are too many finish their requests first.
    """
    run_operation(invocation, "scale", pool=pool, workers=workers)
    click.echo(f"pool {pool}: pm.max_children is {workers} until its next reload")
