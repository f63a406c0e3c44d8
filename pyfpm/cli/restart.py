"""`pyfpm restart`: new workers, the same code."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.operation import run_operation


@click.command(
    "restart",
    short_help="Replace the workers of a pool, code unchanged.",
    epilog=example("pyfpm restart shop"),
)
@click.argument("pool")
@click.pass_obj
def command(invocation: Invocation, pool: str) -> None:
    """Replace the workers of POOL by new ones with the same code and configuration.

    For an application that has got into a bad state. The application is not imported again where
    the pool preloads it; `pyfpm reload POOL` does that. Each worker serves until its replacement
    is ready.
    """
    run_operation(invocation, "restart", pool=pool)
    click.echo(f"pool {pool}: all workers are new")
