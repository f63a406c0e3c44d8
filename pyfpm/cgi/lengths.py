"""Lengths of bodies: reading the claim, and holding a body to it."""

from collections.abc import Mapping
from typing import TypeVar

from pyfpm.errors import BadRequest

_Piece = TypeVar("_Piece", bytes, memoryview, bytes | memoryview)

# More digits than any real length; int() of a million digits would take a worker's time.
_MOST_DIGITS = 18

# How a web server says that it does not know the length: nginx an empty value, Caddy -1.
UNKNOWN_LENGTHS = frozenset({"", "-1"})


def parse_length(text: str) -> int:
    """The length as decimal ASCII digits, nothing else (RFC 9110 §8.6); ValueError otherwise."""
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS:
        raise ValueError(f"{text[:40]!r} is not a length")
    return int(text)


def declared_length(environ: Mapping[str, object]) -> int | None:
    """CONTENT_LENGTH of a request; None when the web server does not know it.

    It is a claim: the end of STDIN is the truth. Raises BadRequest (400) when it is malformed.
    """
    text = environ.get("CONTENT_LENGTH", "")
    if text in UNKNOWN_LENGTHS:
        return None
    try:
        return parse_length(str(text))
    except ValueError as error:
        raise BadRequest(400, f"CONTENT_LENGTH: {error}") from None


class BodyLength:
    """Holds a body that comes in pieces to its declared length.

    A body that is longer is cut there; one that is shorter is a failure at its end. `declared` is
    None where no length is known; `bodyless` cuts everything and misses nothing (HEAD, 204, 304).
    """

    __slots__ = ("_remaining", "surplus_bytes")

    def __init__(self, declared: int | None, *, bodyless: bool = False) -> None:
        self._remaining = 0 if bodyless else declared
        self.surplus_bytes = 0  # what was cut so far

    def missing_bytes(self) -> int:
        """What must still come; not 0 at the end of the body means that it was too short."""
        return self._remaining or 0

    def allow(self, size: int) -> int:
        """How many of `size` bytes more belong to the body."""
        remaining = self._remaining
        return size if remaining is None or size < remaining else remaining

    def count(self, size: int) -> None:
        """`size` bytes, not more than `allow` says, have become part of the body."""
        if self._remaining is not None:
            self._remaining -= size

    def admit(self, piece: _Piece) -> _Piece:
        """What of the next piece belongs to the body: all, a part, or nothing."""
        remaining = self._remaining
        if remaining is None:
            return piece
        length = len(piece)
        if length <= remaining:
            self._remaining = remaining - length
            return piece
        self._remaining = 0
        self.surplus_bytes += length - remaining
        return piece[:remaining]
