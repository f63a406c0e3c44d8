"""What the help pages of all commands have in common."""

from collections.abc import Callable
from typing import Any

import click


class NotSupportedYetError(click.ClickException):
    """Something of pyfpm's contract that is not built yet was asked for."""

    exit_code = 64

    def __init__(self, what: str = "") -> None:
        super().__init__(f"{what}: not supported yet" if what else "not supported yet")


def example(*lines: str) -> str:
    """An epilog that shows the lines as they are (the mark keeps click from filling them)."""
    return "\n".join(
        ("\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {x}" for x in lines))
    )


def planned_option(*names: str, takes_value: bool = False, help: str) -> Callable[[Any], Any]:  # noqa: A002
    """An option of the contract that is not built yet: listed as such, and refused."""

    def refuse(ctx: click.Context, param: click.Parameter, value: object) -> None:  # noqa: ARG001
        if value:
            raise NotSupportedYetError(names[-1])

    return click.option(
        *names,
        is_flag=not takes_value,
        expose_value=False,
        callback=refuse,
        help=f"{help} (not supported yet)",
    )
