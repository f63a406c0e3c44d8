"""`pyfpm --version`."""

import click

import pyfpm
from pyfpm.form import form


def version_line() -> str:
    """The version, and which form runs with this interpreter; for the plain one, why."""
    return f"pyfpm {pyfpm.__version__} ({form.describe()})"


def show_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    """Print the line and end, where the option was given."""
    del option
    if value and not ctx.resilient_parsing:
        click.echo(version_line())
        ctx.exit()
