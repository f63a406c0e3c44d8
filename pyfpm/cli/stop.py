"""`pyfpm stop`: end the master, or single pools."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.operation import run_operation


@click.command(
    "stop",
    short_help="End the master with all its pools, or single pools.",
    epilog=example("pyfpm stop", "pyfpm stop shop", "pyfpm stop --now"),
)
@click.argument("pools", metavar="[POOL]...", nargs=-1)
@click.option("--now", is_flag=True, help="Do not wait for requests that are under way.")
@click.pass_obj
def command(invocation: Invocation, pools: tuple[str, ...], *, now: bool) -> None:
    """End the master with all its pools, or only those named, and wait until they are gone.

    Requests that are under way are finished first, for process_control_timeout at most. `pyfpm
    start-pool` starts a pool again.
    """
    if pools:
        run_operation(invocation, "stop", pools=list(pools), now=now)
        click.echo("\n".join(f"pool {name}: stopped" for name in pools))
        return
    with invocation.control_client() as client:
        client.call("stop", now=now)
        client.wait_master_end()
