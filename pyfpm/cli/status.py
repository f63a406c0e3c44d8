"""`pyfpm status`: what the master says of itself and its pools."""

import json
import shutil
import sys

import click

from pyfpm.cli.help import NotSupportedYetError, example, planned_option
from pyfpm.cli.invocation import Invocation
from pyfpm.control.protocol import JsonObject
from pyfpm.observe import render_table


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
    """Show the state of all pools, or of one, and why a pool is unwell.

    The master answers, however busy the pools are. In a terminal the table is fitted to its width:
    requests are cut, and a narrow one goes without some columns. Elsewhere every line is whole.
    """
    if form == "openmetrics":
        raise NotSupportedYetError("--format openmetrics")
    with invocation.control_client() as client:
        wanted = "text" if form == "text" else "json"
        status = client.call("status", pool=pool, full=full, format=wanted)
    click.echo(render_status(status, form, full=full), nl=False)


def render_status(status: JsonObject, form: str, *, full: bool) -> str:
    """What is printed of the master's answer."""
    match form:
        case "json":
            return f"{json.dumps(status, indent=2)}\n"
        case "table":
            return render_table(list(status["pools"].values()), full=full, width=_width())
        case _:
            # Times are shown as the master's zone has them.
            text: str = status["text"]
            return text


def _width() -> int | None:
    """The terminal's; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
