"""What stands for a placeholder in a line of the access log, where it is more than a look-up."""

import re
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """A time as text, written anew when the second changes."""

    __slots__ = ("_form", "_second", "_shown")

    def __init__(self, form: Callable[[datetime], str]) -> None:
        self._form = form
        self._second = -1
        self._shown = ""

    def __call__(self, second: int) -> str:
        """The time in the zone that is in force in this process."""
        if second != self._second:
            moment = datetime.fromtimestamp(second, UTC).astimezone()
            self._shown = self._form(moment)
            self._second = second
        return self._shown


def path_of(get: Callable[[str], object]) -> str:
    """The path as the client sent it; where the web server does not say, as the application has it.

    `-` for a request that had none.
    """
    uri = get("REQUEST_URI")
    if uri:
        return str(uri).partition("?")[0]
    return f"{get('SCRIPT_NAME') or ''}{get('PATH_INFO') or ''}" or "-"


def uri_of(get: Callable[[str], object]) -> str | None:
    """Path and query; None for a request that had none."""
    uri = get("REQUEST_URI")
    if uri:
        return str(uri)
    path, query = path_of(get), get("QUERY_STRING")
    if path == "-":
        return None
    return f"{path}?{query}" if query else path


def request_length(value: object) -> int:
    """CONTENT_LENGTH as a number; 0 where there is none, or what is no length."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def header_pattern(name: str) -> re.Pattern[bytes]:
    """What finds a header of this name in a block of them."""
    return re.compile(rb"\r\n%b: ([^\r]*)" % re.escape(name).encode(), re.IGNORECASE)


def header_value(pattern: re.Pattern[bytes], head: bytes) -> str:
    """The first header that was found; `-` where there is none."""
    found = pattern.search(head)
    return found[1].decode("latin-1") if found else "-"
