"""`pyfpm options`: the options of the configuration, explained in the terminal."""

import difflib

import click

from pyfpm.cli.help import example
from pyfpm.config import MAIN, POOL, find_option, render_option


@click.command(
    "options",
    short_help="Describe the options of the configuration.",
    epilog=example("pyfpm options | less", "pyfpm options pm.max_children"),
)
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Describe every option of the configuration, or one; marks those not supported yet."""
    if name is None:
        found = [(scope, option) for scope in (MAIN, POOL) for option in scope.by_field.values()]
    else:
        found = list(find_option(name))
    if not found:
        raise click.BadParameter(f"no option {name!r}{_guess(str(name))}", param_hint="NAME")
    click.echo("\n".join(render_option(scope, option) for scope, option in found), nl=False)


def _guess(name: str) -> str:
    known = [*MAIN.by_name, *POOL.by_name]
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""
