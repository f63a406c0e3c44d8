"""Numbers of the command line, refused in words that an operator understands.

They are used as types of click's parameters, whose help shows their names.
"""

import math
import re

import click


def number(value: str | int) -> int:
    """A whole number from 1 on; click.BadParameter for anything else."""
    text = str(value)
    if not re.fullmatch("[0-9]{1,18}", text) or not int(text):
        raise click.BadParameter(f"{text!r} is not a whole number from 1 on")
    return int(text)


def seconds(value: str | float) -> float:
    """Seconds above 0, with a fraction if need be; click.BadParameter for anything else."""
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    # Neither infinity nor anything else that a socket would not take as its timeout.
    if not 0 < found <= 1e9:
        raise click.BadParameter(f"{str(value)!r} is no number of seconds above 0")
    return found
