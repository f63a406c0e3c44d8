"""The CGI response: its head, validated, and pyfpm's own small answers.

What leaves here is trusted by the web server (RFC 3875 §6): a line break in a value would be a
second response (response splitting), a header block that is broken or giant made HAProxy 2.6
crash, and without `Status:` each web server guesses differently. So every head begins with
`Status:`, ends its lines with CRLF, and an application that breaks the rules gets a ResponseError.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TypeVar

from pyfpm.cgi.lengths import parse_length
from pyfpm.errors import ResponseError

T = TypeVar("T")

# Beyond this a head is refused. nginx reads it into a buffer of one page (4 or 8 KiB) by default
# and answers 502 when it does not fit, so a caller may warn long before.
MAX_HEAD_BYTES = 64 * 1024

_STATUS = re.compile(r"[1-9][0-9][0-9] [^\x00-\x1f\x7f]*")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# Headers about one connection and not about the resource (RFC 9110 §7.6.1).
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)

# Status lines and header names that were checked are remembered, because applications say the same
# few again and again; bounded, because some may be made of what a client sent.
_MOST_REMEMBERED = 512
_checked_statuses: dict[str, int] = {}
_checked_names: dict[str, str] = {}

_FORBIDDEN = {
    "status": "the status is an argument of its own",
    **dict.fromkeys(HOP_BY_HOP, "hop-by-hop headers belong to the web server (PEP 3333)"),
}


class ResponseHead:
    """A validated head.

    `lines` is the CGI header block without the empty line at its end, `status` the three-digit
    code, `bodyless` true where no body may follow (HEAD, 1xx, 204, 304), `content_length` what the
    application declared, None if nothing.
    """

    __slots__ = ("bodyless", "content_length", "lines", "status")

    def __init__(
        self, lines: bytes, status: int, bodyless: bool, content_length: int | None
    ) -> None:
        self.lines = lines
        self.status = status
        self.bodyless = bodyless
        self.content_length = content_length

    @property
    def data(self) -> bytes:
        """The whole header block."""
        return self.lines + b"\r\n"


def format_head(status: str, headers: list[tuple[str, str]], method: str) -> ResponseHead:
    """The head for a status line as in WSGI (`"200 OK"`) and headers of native strings.

    Raises ResponseError for a malformed status, a header name that is no token, a value with
    control characters or outside latin-1, hop-by-hop headers and `Status`, a malformed or
    contradictory Content-Length, and a head beyond MAX_HEAD_BYTES.
    """
    content_length: int | None = None
    try:
        if type(status) is not str:
            status = _plain(status)
        code = _checked_statuses.get(status) or _check_status(status)
        pieces = ["Status: ", status, "\r\n"]
        for name, value in headers:
            if type(name) is not str or type(value) is not str:
                name, value = _plain(name), _plain(value)  # noqa: PLW2901 - the same, as it is checked
            lowered = _checked_names.get(name) or _check_name(name)
            if not (value.isascii() and value.isprintable()):
                _check_value(name, value)
            if lowered == "content-length":
                length = _check_length(value, content_length)
                if length == content_length:
                    continue  # said twice alike: once is enough
                content_length = length
            pieces.append(name)
            pieces.append(": ")
            pieces.append(value)
            pieces.append("\r\n")
    except (TypeError, ValueError, AttributeError):
        raise ResponseError("status and headers: a string and pairs of strings required") from None
    try:
        lines = "".join(pieces).encode("latin-1")
    except UnicodeEncodeError as error:
        raise ResponseError(f"headers: {error.object[error.start]!r} is not latin-1") from None
    if (size := len(lines) + 2) > MAX_HEAD_BYTES:
        raise ResponseError(f"headers: {size} bytes, limit {MAX_HEAD_BYTES}")
    bodyless = method == "HEAD" or code < 200 or code in (204, 304)
    return ResponseHead(lines, code, bodyless, content_length)


def _plain(text: str) -> str:
    """The text of a str subclass, whose own __str__ may say something else than what is checked."""
    return str.__str__(text) if isinstance(text, str) else text


def _check_status(status: str) -> int:
    """The code of a status line."""
    if not isinstance(status, str) or not _STATUS.fullmatch(status):
        raise ResponseError(f"status {status!r}: three digits, a space and a reason are required")
    code = int(status[:3])
    _remember(_checked_statuses, status, code)
    return code


def _remember(checked: dict[str, T], text: str, meaning: T) -> None:
    if len(checked) >= _MOST_REMEMBERED:
        checked.clear()
    checked[text] = meaning


def _check_name(name: str) -> str:
    """The header name in lower case."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ResponseError(f"header name {name!r}: not a token (RFC 9110 §5.6.2)")
    lowered = name.lower()
    if lowered in _FORBIDDEN:
        raise ResponseError(f"header {name}: {_FORBIDDEN[lowered]}")
    _remember(_checked_names, name, lowered)
    return lowered


def _check_value(name: str, value: str) -> None:
    """Passes tabs and what is not ASCII; the encoding decides about the latter."""
    if not isinstance(value, str):
        raise ResponseError(f"header {name}: the value is {type(value).__name__}, not str")
    if match := _CONTROL.search(value):
        raise ResponseError(f"header {name}: control character {match[0]!r} in the value")


def _check_length(value: str, before: int | None) -> int:
    try:
        length = parse_length(value)
    except ValueError as error:
        raise ResponseError(f"header Content-Length: {error}") from None
    if before is not None and before != length:
        raise ResponseError(f"header Content-Length: both {before} and {length}")
    return length


def simple_response(
    status: int, text: str = "", headers: Iterable[tuple[str, str]] = ()
) -> tuple[bytes, bytes]:
    """Head and body of an answer of pyfpm itself, in plain text; `text` defaults to the reason."""
    reason = HTTPStatus(status).phrase
    body = f"{text or reason}\n".encode()
    fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        *headers,
    ]
    return format_head(f"{status} {reason}", fields, "GET").data, body
