"""`pyfpm upgrade`: another version of pyfpm itself, without closing a socket."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.operation import render_generations, run_operation


@click.command(
    "upgrade",
    short_help="Replace the code of the master, without closing a socket.",
    epilog=example("git pull && /opt/pyfpm/bin/pip install --upgrade . && pyfpm upgrade"),
)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Replace the running master by the code that is installed now, then reload every pool.

    The new code is tried first: if it does not start with this configuration, the reason is
    shown, the exit code is 1 and nothing has changed. Process id, sockets and workers stay.
    """
    result = run_operation(invocation, "upgrade")
    click.echo(f"pyfpm {result['version']} serves, pid {result['pid']}")
    for line in render_generations(result):
        click.echo(line)
