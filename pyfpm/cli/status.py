"""`pyfpm status`: what the master says of itself and its pools."""

import json

import click

from pyfpm.cli.help import NotSupportedYetError, example, planned_option
from pyfpm.cli.invocation import Invocation


@click.command(
    "status",
    short_help="Show the state of all pools, or of one.",
    epilog=example("pyfpm status", "pyfpm status shop --full", "pyfpm status --format json"),
)
@click.argument("pool", required=False)
@click.option("--full", is_flag=True, help="Show every worker and its request.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "text", "openmetrics"]),
    default="table",
    show_default=True,
    help="openmetrics is not supported yet.",
)
@planned_option("--watch", help="Show it again every second.")
@click.pass_obj
def command(invocation: Invocation, pool: str | None, *, full: bool, form: str) -> None:
    """Show the state of all pools, or of one.

    The master answers, however busy the pools are.
    """
    if form == "openmetrics":
        raise NotSupportedYetError("--format openmetrics")
    with invocation.control_client() as client:
        status = client.call("status", pool=pool, full=full, format=form)
    # The master renders what is for people, from the numbers that it holds.
    click.echo(f"{json.dumps(status, indent=2)}\n" if form == "json" else status["text"], nl=False)
