"""`access.format` taken apart and checked: PHP-FPM's placeholders, and the words for whole formats.

A placeholder is `%`, perhaps an argument in braces, and a letter. Two letters are ours: `%b`, which
the combined format of Apache and nginx has and PHP-FPM lacks, and `U`, which no format can say
and the JSON form uses for the URI as a whole.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

DEFAULT_FORMAT = '%R - %u %t "%m %r" %s'
COMBINED_FORMAT = (
    '%{REMOTE_ADDR}e - %{REMOTE_USER}e [%t] "%m %r%Q%q %{SERVER_PROTOCOL}e" %s %b'
    ' "%{HTTP_REFERER}e" "%{HTTP_USER_AGENT}e"'
)
COMBINED = "combined"
JSON = "json"
MOST_FORMAT_BYTES = 1024

_TOKEN = re.compile(r"%(?:\{([^}]*)\})?(.?)", re.DOTALL)
_PARAMETER = re.compile(r"[A-Z][A-Z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STRFTIME = re.compile(r"%(.)")
_SOME_DAY = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
_MONTH_NAMES = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder; `argument` is what stood in braces, in its shortest spelling.

    `alone` says that it is all that stands between two double quotes.
    """

    letter: str
    argument: str = ""
    alone: bool = False


Piece = str | Placeholder
"""A piece of a line: text that stands for itself, or a placeholder."""


def parse_access_format(text: str) -> tuple[Piece, ...]:
    """The pieces of a format, or of `combined`; ValueError with what would be right.

    `json` has no pieces of its own: ValueError too.
    """
    if text.lower() == COMBINED:
        text = COMBINED_FORMAT
    if len(text.encode()) > MOST_FORMAT_BYTES:
        raise ValueError(f"has {len(text.encode())} bytes; write at most {MOST_FORMAT_BYTES}")
    pieces: list[Piece] = []
    end = 0
    for match in _TOKEN.finditer(text):
        _add(pieces, text[end : match.start()])
        before, end = text[: match.start()], match.end()
        if match[2] == "%" and match[1] is None:
            _add(pieces, "%")
            continue
        letter, argument = match[2], _check(match)
        quoted = before.endswith('"') and text[end : end + 1] == '"'
        pieces.append(Placeholder(letter, argument, quoted and before.count('"') % 2 == 1))
    _add(pieces, text[end:])
    return tuple(pieces)


def check_access_format(text: str) -> str:
    """The format as it is, `combined` and `json` in lower case; ValueError as above."""
    if text.lower() in (COMBINED, JSON):
        return text.lower()
    if not text:
        raise ValueError(f"is empty; write {COMBINED}, {JSON} or a format such as {DEFAULT_FORMAT}")
    if not text.isprintable():
        raise ValueError("holds a control character; a line of the log is one line")
    if not any(isinstance(one, Placeholder) for one in parse_access_format(text)):
        raise ValueError(f"has no placeholder; write {COMBINED}, {JSON} or PHP-FPM's placeholders")
    return text


def wants_cpu(text: str) -> bool:
    """Whether lines of this format say how much processor time a request took."""
    if text == JSON:
        return False
    return any(
        isinstance(one, Placeholder) and one.letter == "C" for one in parse_access_format(text)
    )


def format_moment(form: str, moment: datetime) -> str:
    """strftime with the English names of months and days, whatever locale an application sets."""

    def name(match: re.Match[str]) -> str:
        match match[1]:
            case "b" | "h":
                return _MONTH_NAMES[moment.month - 1][:3]
            case "B":
                return _MONTH_NAMES[moment.month - 1]
            case "a":
                return _DAY_NAMES[moment.weekday()][:3]
            case "A":
                return _DAY_NAMES[moment.weekday()]
            case "s":
                return str(int(moment.timestamp()))
            case _:
                return match[0]

    return moment.strftime(_STRFTIME.sub(name, form))


def _add(pieces: list[Piece], text: str) -> None:
    """Text goes to the text before it, so that no two stand side by side."""
    if text and pieces and isinstance(pieces[-1], str):
        pieces[-1] += text
    elif text:
        pieces.append(text)


def _check(match: re.Match[str]) -> str:
    """The argument in its shortest spelling."""
    argument, letter = match[1], match[2]
    if letter == "{":
        raise ValueError(f"{match.string[match.start() :]!r} lacks a closing brace")
    if not letter:
        raise ValueError(f"ends with {match[0]}; write %%%% for a percent sign")
    if letter in _WITHOUT:
        if argument is not None:
            raise ValueError(f"{match[0]}: %{letter} takes nothing in braces")
        return ""
    if letter not in _WITH:
        raise ValueError(
            f"{match[0]!r} is no placeholder; there are {_KNOWN}, and %%%% is a percent sign"
        )
    try:
        return _WITH[letter](argument or "")
    except ValueError as error:
        raise ValueError(f"{match[0]}: {error}") from None


def _one_of(words: dict[str, str]) -> Callable[[str], str]:
    shortest = ", ".join(dict.fromkeys(words.values()))

    def check(argument: str) -> str:
        word = words.get(argument.lower())
        if word is None:
            raise ValueError(f"write one of {shortest} in the braces, or no braces")
        return word

    return check


def _check_parameter(argument: str) -> str:
    if not _PARAMETER.fullmatch(argument):
        raise ValueError("write the name of a FastCGI parameter in braces, as in %{HTTP_HOST}e")
    return argument


def _check_header(argument: str) -> str:
    if not _HEADER.fullmatch(argument):
        raise ValueError("write the name of a response header in braces, as in %{Content-Type}o")
    return argument.lower()


def _check_time(argument: str) -> str:
    if "%f" in argument.replace("%%", ""):
        raise ValueError("%f is not there: times in lines are whole seconds")
    try:
        shown = format_moment(argument, _SOME_DAY)
    except ValueError as error:
        raise ValueError(f"strftime does not take it: {error}") from None
    if not shown.isprintable():
        raise ValueError("would write a control character; a line of the log is one line")
    return argument


_WITHOUT = frozenset("bflmnpPqQrRsu")
_WITH: dict[str, Callable[[str], str]] = {
    "C": _one_of({"": "total", "total": "total", "user": "user", "system": "system"}),
    "d": _one_of(
        {
            "": "seconds",
            "seconds": "seconds",
            "milli": "milli",
            "milliseconds": "milli",
            # PHP-FPM knows this spelling too.
            "mili": "milli",
            "miliseconds": "milli",
            "micro": "micro",
            "microseconds": "micro",
        }
    ),
    "e": _check_parameter,
    "M": _one_of(
        {
            "": "bytes",
            "bytes": "bytes",
            "kilo": "kilo",
            "kilobytes": "kilo",
            "mega": "mega",
            "megabytes": "mega",
        }
    ),
    "o": _check_header,
    "t": _check_time,
    "T": _check_time,
}
_KNOWN = " ".join(f"%{one}" for one in sorted({*_WITHOUT, *_WITH}, key=lambda c: (c.lower(), c)))
