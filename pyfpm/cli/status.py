"""`pyfpm status`: what the master says of itself and its pools."""

import json
import shutil
from datetime import datetime

import click

from pyfpm.cli.help import NotSupportedYetError, example, planned_option
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.status_document import read_pools
from pyfpm.observe import render_table, render_text

MIN_WIDTH = 80


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
        document = client.call("status", pool=pool, full=full)
    if form == "json":
        click.echo(json.dumps(document, indent=2))
        return
    statuses = read_pools(document)
    if form == "text":
        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        click.echo("\n".join(render_text(x, full=full, zone=zone) for x in statuses), nl=False)
        return
    master = document["pyfpm"]
    click.echo(f"pyfpm {master['version']}, pid {master['pid']}, {master['state']}\n")
    width = max(MIN_WIDTH, shutil.get_terminal_size((120, 24)).columns)
    click.echo(render_table(statuses, full=full, width=width), nl=False)
