"""Commands that the master carries out while the command line waits and shows how it goes."""

from collections.abc import Iterator

import click

from pyfpm.cli.invocation import Invocation
from pyfpm.control.protocol import JsonObject
from pyfpm.units import counted

# A shell reports a program ended by SIGINT as 128 + 2; sysexits has no code for it.
INTERRUPTED = 130

# Applications write some of what we print (a traceback, a request line), and terminals act on
# control characters. Tab and line break are harmless. What changes the direction of writing makes
# a line look like another one than it is.
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
_CONTROLS = {
    **{code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))},
    **{code: f"\\u{code:04x}" for code in _DIRECTIONS},
}


class OperationInterrupted(click.ClickException):
    """The waiting was ended with Ctrl-C; the master goes on."""

    exit_code = INTERRUPTED


def visible(text: str) -> str:
    """The text with every control character but tab and line break made visible."""
    return text.translate(_CONTROLS)


def run_operation(invocation: Invocation, command: str, **arguments: object) -> JsonObject:
    """Let the master run a command, show its progress on stderr, and return its result.

    Raises ControlError as ControlClient.call does, and OperationInterrupted after Ctrl-C.
    """
    with invocation.control_client(on_progress=show_progress) as client:
        try:
            return client.call(command, **arguments)
        except KeyboardInterrupt:
            raise OperationInterrupted(
                f"interrupted; the {command} goes on in the master, `pyfpm status` shows how far"
            ) from None


def show_progress(message: str) -> None:
    """One line on stderr, dimmed on a terminal so that results and errors stand out."""
    click.secho(visible(message), err=True, dim=True)


def render_generations(result: JsonObject) -> Iterator[str]:
    """What serves after a reload and what still drains, in lines.

    `result` is `{"pools": {name: {"generation": int, "draining": int}}, "draining": [text]}`.
    """
    for name, pool in result["pools"].items():
        line = f"pool {name}: generation {pool['generation']} serves"
        if count := pool["draining"]:
            line += f", {counted(count, 'older worker still drains', 'older workers still drain')}"
        yield line
    for text in result["draining"]:
        yield f"draining: {visible(text)}"
