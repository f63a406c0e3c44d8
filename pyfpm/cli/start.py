"""`pyfpm start`: run the master."""

import click

from pyfpm.cli.help import example, planned_option
from pyfpm.cli.invocation import Invocation
from pyfpm.master import run_master


@click.command(
    "start",
    short_help="Run the master with its pools.",
    epilog=example("pyfpm -c /etc/pyfpm/pyfpm.conf start"),
)
@click.option("-R", "--allow-root", is_flag=True, help="Let pools without a user run as root.")
@planned_option("-D", "--daemonize", help="Go to the background.")
@click.pass_obj
def command(invocation: Invocation, *, allow_root: bool) -> int:
    """Run the master in the foreground, until SIGTERM, SIGINT or `pyfpm stop`."""
    return run_master(invocation.load_config(allow_root=allow_root))
