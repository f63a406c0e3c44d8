"""`pyfpm check`: say whether the configuration can be used."""

import os

import click

from pyfpm.cli.help import example, planned_option
from pyfpm.cli.invocation import Invocation
from pyfpm.config import render_dump
from pyfpm.errors import ConfigError
from pyfpm.master import probe_identities


@click.command(
    "check",
    short_help="Validate the configuration.",
    epilog=example("pyfpm check", "pyfpm check --dump", "pyfpm -c /tmp/new.conf -t"),
)
@click.option("--dump", is_flag=True, help="Print every effective value and where it comes from.")
@planned_option("--sandbox", takes_value=True, help="Show what the sandbox of a pool admits.")
@click.pass_obj
def command(invocation: Invocation, *, dump: bool) -> None:
    """Validate the configuration, without creating or starting anything.

    As root, also try each pool's interpreter and folder with the pool's identity. Problems go to
    stderr, one a line with file and line number, and the exit code is 78.
    """
    config = invocation.load_config()
    if os.geteuid() == 0:
        problems = probe_identities(config)
        if problems:
            raise ConfigError(problems)
    for notice in config.notices:
        click.echo(f"notice: {notice}", err=True)
    if dump:
        click.echo(render_dump(config), nl=False)
        return
    pools = "1 pool" if len(config.pools) == 1 else f"{len(config.pools)} pools"
    click.echo(f"{config.path}: {pools}, no problems")
