"""`pyfpm reload`: new code and configuration, without losing a request."""

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.cli.operation import render_generations, run_operation


@click.command(
    "reload",
    short_help="Load new code and configuration into running pools.",
    epilog=example("pyfpm reload", "pyfpm reload shop", "pyfpm check && pyfpm reload shop blog"),
)
@click.argument("pools", metavar="[POOL]...", nargs=-1)
@click.pass_obj
def command(invocation: Invocation, pools: tuple[str, ...]) -> None:
    """Load new code and configuration into all pools, or into those named.

    Each pool boots its application anew beside the old one. When a worker of it is ready, workers
    are replaced step by step: no request is lost. Exit code 0 when the new generation serves; 1
    when the configuration has errors or an application does not boot, with the reason, and the old
    generation serves on.
    """
    result = run_operation(invocation, "reload", pools=list(pools))
    for line in render_generations(result):
        click.echo(line)
