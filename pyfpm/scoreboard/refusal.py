"""Why requests are refused before any application sees them: the closed set that status shows."""

from enum import StrEnum


class Refusal(StrEnum):
    """PROTOCOL_ERROR breaks FastCGI, so the connection is closed.

    BAD_REQUEST is well framed and means nothing (400), TOO_LARGE exceeds a limit of the pool (413,
    or closed where no answer is possible), TIMEOUT did not arrive in time (408, or closed).
    """

    PROTOCOL_ERROR = "protocol_error"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"


class AllowList(StrEnum):
    """Lists of who may connect. Others are cut off before a byte of theirs is read.

    That is no bad input: status shows `refused connections` apart from the reasons above.
    """

    CLIENTS = "listen.allowed_clients"
    USERS = "listen.allowed_users"


_BY_STATUS = {408: Refusal.TIMEOUT, 413: Refusal.TOO_LARGE, 431: Refusal.TOO_LARGE}


def refusal_of(status: int) -> Refusal | None:
    """The reason behind an HTTP status; None where it blames the server."""
    if 400 <= status < 500:
        return _BY_STATUS.get(status, Refusal.BAD_REQUEST)
    return None
