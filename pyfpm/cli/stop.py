"""`pyfpm stop`: end the master."""

import click

from pyfpm.cli.help import NotSupportedYetError, example
from pyfpm.cli.invocation import Invocation


@click.command(
    "stop",
    short_help="End the master and all its pools.",
    epilog=example("pyfpm stop", "pyfpm stop --now"),
)
@click.argument("pools", metavar="[POOL]...", nargs=-1)
@click.option("--now", is_flag=True, help="Do not wait for requests that are under way.")
@click.pass_obj
def command(invocation: Invocation, pools: tuple[str, ...], *, now: bool) -> None:
    """End the master and all its pools, and wait until they are gone.

    Requests that are under way are finished first, for process_control_timeout at most. Stopping
    single pools is not supported yet.
    """
    if pools:
        raise NotSupportedYetError(f"stopping pool {pools[0]} alone")
    with invocation.control_client() as client:
        client.call("stop", now=now)
        client.wait_master_end()
