"""`pyfpm start`: run the master."""

import os

import click

from pyfpm.cli.help import example
from pyfpm.cli.invocation import Invocation
from pyfpm.config import ConfigFile
from pyfpm.errors import ConfigError
from pyfpm.master import find_log_problems, run_master


@click.command(
    "start",
    short_help="Run the master with its pools.",
    epilog=example(
        "pyfpm -c /etc/pyfpm/pyfpm.conf start", "pyfpm start -D && pyfpm status && pyfpm stop"
    ),
)
@click.option("-R", "--allow-root", is_flag=True, help="Let pools without a user run as root.")
@click.option("-D", "--daemonize", is_flag=True, help="Go to the background when ready.")
@click.pass_obj
def command(invocation: Invocation, *, allow_root: bool, daemonize: bool) -> int:
    """Run the master in the foreground, until SIGTERM, SIGINT or `pyfpm stop`.

    In the background (-D, or daemonize = yes in [pyfpm]) it needs an error_log other than stderr.
    The command then ends when the service is ready, with 0, or when it could not start, with the
    reason and the exit code that it would have in the foreground.
    """
    found = invocation.find_config()
    if found is not None:
        # A reload reads the file again, and a daemon has another working directory by then.
        invocation.config_path = os.path.abspath(found)
    config = invocation.load_config(allow_root=allow_root, daemonize=daemonize, spares_others=True)
    if problems := find_log_problems(config, spares_others=True):
        raise ConfigError(problems)
    daemonize = daemonize or config.main.daemonize
    load = ConfigFile(config.path, allow_root, daemonize)
    return run_master(config, load=load, daemonize=daemonize)
