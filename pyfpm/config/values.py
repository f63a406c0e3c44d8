"""The closed sets among the options' values, and the path of an application."""

import re
from dataclasses import dataclass
from enum import Enum

_APP = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")


class LogLevel(Enum):
    """How much the error log tells, from everything to nearly nothing."""

    DEBUG = "debug"
    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"
    ALERT = "alert"


class LogFormat(Enum):
    """How a line of the error log is written."""

    TEXT = "text"
    JSON = "json"


class Interface(Enum):
    """How a worker calls the application."""

    AUTO = "auto"
    WSGI = "wsgi"


class Isolation(Enum):
    """What one request may leave behind for the next."""

    PERSIST = "persist"


class Preload(Enum):
    """Whether the zygote imports the application before it forks workers."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class AppPath:
    """`module:callable`, and the `file:line` that said so, for messages about a failed boot."""

    module: str
    attribute: str
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def parse_app_path(text: str) -> AppPath:
    """`shop.wsgi:application`, or `shop.wsgi:sites.main` for an attribute of an attribute."""
    match = _APP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not module:callable; write it as shop.wsgi:application")
    return AppPath(match[1], match[2])
