"""The page docs/reference/cli.md, from the help of the commands themselves.

`python -m pyfpm.cli.reference > docs/reference/cli.md` writes it; a test says when it is due.
"""

from collections.abc import Iterator

import click

from pyfpm.cli.operation import INTERRUPTED
from pyfpm.cli.program import COMMANDS, program
from pyfpm.cli.unsupported import UNSUPPORTED
from pyfpm.control import ExitCode

WIDTH = 90

_HEAD = """\
# The `pyfpm` command

This page is generated from `pyfpm --help` and the help of each command.

Results go to stdout, messages to stderr. Colours are used on terminals only, and never with
`NO_COLOR` set. `PYFPM_DEBUG=1` adds the traceback to an internal error.

The master is reached over its control socket: `control` in the configuration, or the default
place where there is no configuration. Root and the master's own user may do everything; others
whom the socket's mode admits may read (`status`, `trace`).

A command that takes time reports its progress on stderr and waits to the end. Ctrl-C ends the
waiting alone: what was begun goes on in the master.

| exit code | means |
|---|---|
"""

_NOT_YET = """
## Not supported yet

These commands have their names already and answer with exit code 64.

| for example | will |
|---|---|
"""

_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "the operation failed",
    ExitCode.USAGE: "wrong usage, or something that is not supported yet",
    ExitCode.NO_MASTER: "no master answers",
    ExitCode.INTERNAL: "an internal error of pyfpm",
    ExitCode.NOT_PERMITTED: "not permitted",
    ExitCode.CONFIG: "an error in the configuration",
}


def render_reference() -> str:
    """The whole page, in Markdown."""
    codes = "".join(f"| {code.value} | {_MEANINGS[code]} |\n" for code in ExitCode)
    page = f"{_HEAD}{codes}| {INTERRUPTED} | interrupted by Ctrl-C |\n"
    # The width is given here, so that the page does not depend on the terminal that made it.
    with click.Context(
        program,
        info_name="pyfpm",
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        color=False,
        **program.context_settings,
    ) as ctx:
        page += _section("pyfpm", program.get_help(ctx))
        for name in COMMANDS:
            command = program.get_command(ctx, name)
            assert command is not None
            with click.Context(command, info_name=name, parent=ctx) as inner:
                page += _section(f"pyfpm {name}", command.get_help(inner))
    return page + _NOT_YET + "".join(_unsupported())


def _unsupported() -> Iterator[str]:
    for purpose, usage in UNSUPPORTED.values():
        yield f"| `{usage}` | {purpose} |\n"


def _section(title: str, text: str) -> str:
    lines = (line.rstrip() for line in text.strip().splitlines())
    return f"\n## `{title}`\n\n```text\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    click.echo(render_reference(), nl=False)
