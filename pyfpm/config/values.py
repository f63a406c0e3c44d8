"""The closed sets among the options' values, and the path of an application."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

_Value = TypeVar("_Value")

_PROCESSORS = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
_PERCENT = re.compile(r"([0-9]{1,3})\s*%")
_COUNT = re.compile(r"[0-9]{1,9}")
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


class Sandbox(Enum):
    """Whether Landlock confines a pool, and whether a kernel that lacks a part of it will do."""

    ON = "on"
    BEST_EFFORT = "best-effort"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class AppPath:
    """`module:callable`, and the `file:line` that said so, for messages about a failed boot."""

    module: str
    attribute: str
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def parse_each(parse: Callable[[str], _Value], words: Iterable[str]) -> tuple[_Value, ...]:
    """Every word of a list as a value; ValueError tells of each that is wrong.

    Words with the same remedy, which stands behind the first semicolon, share one.
    """
    found: list[_Value] = []
    wrong: dict[str, list[str]] = {}
    for word in words:
        try:
            found.append(parse(word))
        except ValueError as error:
            what, _, remedy = str(error).partition("; ")
            wrong.setdefault(remedy, []).append(what)
    if wrong:
        several = (f"{', '.join(whats)}; {remedy}" for remedy, whats in wrong.items())
        raise ValueError("; ".join(text.removesuffix("; ") for text in several))
    return tuple(found)


def parse_app_path(text: str) -> AppPath:
    """`shop.wsgi:application`, or `shop.wsgi:sites.main` for an attribute of an attribute."""
    match = _APP.fullmatch(text)
    # `hello.py:app` would be the module `py` in the package `hello`, and nobody means that.
    if match is None or match[1].endswith(".py"):
        remedy = guess_app(text) or "shop.wsgi:application"
        raise ValueError(f"{text!r} is not module:callable; write it as {remedy}")
    return AppPath(match[1], match[2])


def guess_app(text: str) -> str:
    """What was probably meant by an application that is named by its file; empty if unclear."""
    module, _, name = text.partition(":")
    if module.startswith("/"):  # of a whole path its folder belongs into `directory`
        module = module.rpartition("/")[2]
    module = module.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".")
    guess = f"{module}:{name or 'app'}"
    return guess if guess != text and _APP.fullmatch(guess) else ""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole: `percent` of it, or a fixed `count` where that is not None."""

    percent: int
    count: int | None = None

    def of(self, whole: int) -> int:
        """That part of `whole`, rounded down, and at least 1."""
        part = whole * self.percent // 100 if self.count is None else self.count
        return max(1, part)


def parse_percent(text: str) -> float:
    """A fraction from `10%`."""
    match = _PERCENT.fullmatch(text)
    if match is None or int(match[1]) > 100:
        raise ValueError(f"{text!r} is not a percentage; write it as 10%, and at most 100%")
    return int(match[1]) / 100


def format_percent(fraction: float) -> str:
    """`10%` from 0.1."""
    return f"{round(fraction * 100)}%"


def parse_share(text: str) -> Share:
    """`25%`, or a number from 1 on."""
    match = _PERCENT.fullmatch(text)
    if match is not None and 1 <= int(match[1]) <= 100:
        return Share(int(match[1]))
    if _COUNT.fullmatch(text) and int(text):
        return Share(0, int(text))
    raise ValueError(f"{text!r} is neither a percentage nor a number from 1 on; write 25% or 2")


def format_share(share: Share) -> str:
    """The inverse of `parse_share`."""
    return f"{share.percent}%" if share.count is None else str(share.count)


def parse_processors(text: str) -> tuple[int, ...]:
    """Numbers of processors, in order, from `0-3,6`; the form that the kernel uses too."""
    ranges = parse_each(_parse_range, text.replace(",", " ").split())
    if not ranges:
        raise ValueError("the value is empty; write the processors as 0-3,6")
    return tuple(sorted({number for numbers in ranges for number in numbers}))


def _parse_range(part: str) -> range:
    match = _PROCESSORS.fullmatch(part)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise ValueError(f"{part!r} is no processor and no range of them; write 0-3,6")
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def format_processors(numbers: tuple[int, ...]) -> str:
    """The inverse of `parse_processors`, with ranges where they are shorter."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
