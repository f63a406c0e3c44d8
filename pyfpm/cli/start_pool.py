"""`pyfpm start-pool`: what `pyfpm stop POOL` and `autostart = no` left out."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.operation import run_operation


@click.command(
    "start-pool",
    short_help="Start pools that were stopped.",
    epilog=example("pyfpm start-pool shop", "pyfpm start-pool shop blog"),
)
@click.argument("pools", metavar="POOL...", nargs=-1, required=True)
@click.pass_obj
def command(invocation: Invocation, pools: tuple[str, ...]) -> None:
    """Start pools that `pyfpm stop POOL` ended, or that have autostart = no.

    Waits until they serve.
    """
    run_operation(invocation, "start-pool", pools=list(pools))
    click.echo("\n".join(f"pool {name}: serves" for name in pools))
