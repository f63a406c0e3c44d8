"""Commands of the contract that are not built yet: listed, explained, and refused."""

from collections.abc import Mapping

import click

from pyfpm.cli.help import NotSupportedYetError, example

# What each will do, and how it will be called.
UNSUPPORTED: Mapping[str, tuple[str, str]] = {
    "top": ("Watch pools and workers live.", "pyfpm top"),
    "logs": ("Show the logs of a pool.", "pyfpm logs shop -f"),
    "dashboard": ("Serve a dashboard.", "pyfpm dashboard"),
    "convert": ("Convert another server's file.", "pyfpm convert www.conf"),
    "advise": ("Advise on the settings of a pool.", "pyfpm advise shop"),
    "schema": ("Print the schema of the configuration.", "pyfpm schema"),
}


def unsupported_command(name: str) -> click.Command:
    """A command that takes any arguments and answers that it is not built yet."""

    def refuse(**_: object) -> None:
        raise NotSupportedYetError

    purpose, usage = UNSUPPORTED[name]
    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=purpose,
        short_help=f"{purpose.removesuffix('.')} (not supported yet).",
        epilog=example(f"{usage}   (not supported yet)"),
        context_settings={"ignore_unknown_options": True},
    )
