"""The head of a CGI response, as a gateway reads it (RFC 3875 §6).

Header lines end with LF or CRLF, the head ends with an empty line. `Status` gives the status,
`Location` alone means 302, neither means 200.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

from pyfpm.errors import ResponseError

# Far beyond what web servers take (nginx: 4 to 8 KiB by default), and still a limit.
MAX_HEAD_BYTES = 256 * 1024

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS = re.compile(r"([1-9][0-9]{2})(?:[ \t]+(.*))?")


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """Status and headers of a response; names as the responder spelled them, `Status` left out."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]

    @property
    def status_line(self) -> str:
        """What HTTP and WSGI call the status: `404 Not Found`."""
        return f"{self.status} {self.reason}"


class HeadReader:
    """Collects the pieces of a response until its head is complete."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self.rest = b""  # the beginning of the body, once the head is complete

    def feed(self, data: bytes) -> ReplyHead | None:
        """The head, as soon as `data` completes it.

        Raises ResponseError for a head that is malformed or longer than MAX_HEAD_BYTES.
        """
        # The blank line may straddle two pieces, by at most three of its four bytes.
        searched = max(0, len(self._pending) - 3)
        self._pending += data
        found = _END_OF_HEAD.search(self._pending, searched)
        if found is None:
            if len(self._pending) > MAX_HEAD_BYTES:
                raise ResponseError(f"response head: longer than {MAX_HEAD_BYTES} bytes")
            return None
        head = bytes(self._pending[: found.start()])
        self.rest = bytes(self._pending[found.end() :])
        self._pending.clear()
        return parse_head(head)


def parse_head(head: bytes) -> ReplyHead:
    """The header lines of a response without the empty line; raises ResponseError."""
    status: tuple[int, str] | None = None
    headers: list[tuple[str, str]] = []
    for line in head.decode("latin-1").split("\n"):
        name, colon, value = line.removesuffix("\r").partition(":")
        value = value.strip(" \t")
        if not colon or not _TOKEN.fullmatch(name):
            raise ResponseError(f"response head: {line[:80]!r} is not a header")
        if "\r" in value or "\0" in value:
            raise ResponseError(f"response head: control character in {name}")
        if name.lower() == "status":
            status = _parse_status(value)
        else:
            headers.append((name, value))
    if status is None:
        redirects = any(name.lower() == "location" for name, _ in headers)
        status = _parse_status("302" if redirects else "200")
    return ReplyHead(*status, tuple(headers))


def _parse_status(value: str) -> tuple[int, str]:
    match = _STATUS.fullmatch(value)
    if match is None:
        raise ResponseError(
            f"response head: Status {value[:80]!r} is not three digits and a reason"
        )
    status = int(match[1])
    return status, match[2] or _reason(status)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
