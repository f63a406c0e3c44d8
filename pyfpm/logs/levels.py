"""The levels of the error log."""

import logging
from enum import IntEnum


class Level(IntEnum):
    """PHP-FPM's levels as numbers of the logging module; the names are what lines show."""

    DEBUG = logging.DEBUG
    NOTICE = 25
    WARNING = logging.WARNING
    ERROR = logging.ERROR
    ALERT = logging.CRITICAL

    @classmethod
    def named(cls, name: str) -> "Level":
        """The level of a `log_level` word; ValueError for any other."""
        try:
            return cls[name.upper()]
        except KeyError:
            raise ValueError(f"no log level {name!r}") from None


def name_of(number: int) -> str:
    """The word for a logging level number, also for those that only libraries use."""
    for level in sorted(Level, reverse=True):
        if number >= level:
            return level.name
    return Level.DEBUG.name
