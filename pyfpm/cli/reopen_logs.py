"""`pyfpm reopen-logs`: after a rotation."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation


@click.command(
    "reopen-logs",
    short_help="Open the log files anew, after a rotation.",
    epilog=example("mv /var/log/pyfpm.log /var/log/pyfpm.log.1 && pyfpm reopen-logs"),
)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Open the log files anew under their names and print these, as the signal USR1 does.

    No worker is restarted and no line is lost. When the command returns, nothing is written to the
    old files any more, but for the access logs: a worker that runs a request writes its line to the
    old file yet.
    """
    with invocation.control_client() as client:
        files = client.call("reopen-logs")["files"]
    for path in files:
        click.echo(path)
    if not files:
        click.echo("pyfpm: reopen-logs: no log is a file: nothing to open", err=True)
