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
    ALWAYS = 60
    """Not a word of `log_level`: what workers print, shown as a NOTICE whatever the level is."""

    @classmethod
    def named(cls, name: str) -> "Level":
        """The level of a `log_level` word; ValueError for any other."""
        if name.upper() not in cls.__members__ or name.upper() == cls.ALWAYS.name:
            raise ValueError(f"no log level {name!r}")
        return cls[name.upper()]


def name_of(number: int) -> str:
    """The word for a logging level number, also for those that only libraries use."""
    if number == Level.ALWAYS:
        return Level.NOTICE.name
    for level in sorted(Level, reverse=True):
        if number >= level:
            return level.name
    return Level.DEBUG.name
