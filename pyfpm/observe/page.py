"""The answers to pm.status_path and ping.path, ready for a response."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, tzinfo

from pyfpm.observe.document import render_json
from pyfpm.observe.status import PoolStatus
from pyfpm.observe.text import render_text

# A status that a cache keeps is a wrong status; PHP-FPM sends the same two.
_NO_CACHE = (
    ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Cache-Control", "no-cache, no-store, must-revalidate, max-age=0"),
)
_PLAIN = "text/plain; charset=utf-8"
_UNBUILT = ("html", "xml", "openmetrics")


@dataclass(frozen=True, slots=True)
class Page:
    """A whole response: status line without protocol, header fields, body."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def answer_status(
    query: str, summary: Callable[[], PoolStatus], *, method: str = "GET", zone: tzinfo = UTC
) -> Page:
    """The status page that the query string asks for: text, `json`, each with `full`.

    The presence of a name decides, whatever its value, as in PHP-FPM. `summary` is called only
    when it is needed, since it reads the whole scoreboard.
    """
    names = {part.partition("=")[0] for part in query.split("&")}
    for name in _UNBUILT:
        if name in names:
            return _page("501 Not Implemented", _PLAIN, f"{name}: not supported yet\n", method)
    full = "full" in names
    if "json" in names:
        return _page("200 OK", "application/json", render_json(summary(), full=full), method)
    return _page("200 OK", _PLAIN, render_text(summary(), full=full, zone=zone), method)


def answer_ping(response: str, *, method: str = "GET") -> Page:
    """The answer to ping.path: ping.response and nothing else."""
    return _page("200 OK", _PLAIN, response, method)


def _page(status: str, content_type: str, text: str, method: str) -> Page:
    body = b"" if method == "HEAD" else text.encode("utf-8", "backslashreplace")
    return Page(status, (("Content-Type", content_type), *_NO_CACHE), body)
