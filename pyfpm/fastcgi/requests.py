"""What a web server writes: the bytes of its requests."""

from collections.abc import Iterable
from struct import Struct

from pyfpm.fastcgi.pairs import encode_pairs
from pyfpm.fastcgi.records import (
    ABORT_REQUEST,
    BEGIN_REQUEST,
    GET_VALUES,
    KEEP_CONN,
    PARAMS,
    STDIN,
    Role,
    frame,
    frame_stream,
)

_BEGIN_BODY = Struct(">HB5x")


def encode_request(
    request_id: int,
    params: Iterable[tuple[bytes, bytes]],
    body: bytes = b"",
    *,
    role: int = Role.RESPONDER,
    keep_conn: bool = False,
) -> bytes:
    """A whole request: BEGIN, the PARAMS stream and its end, the STDIN stream and its end."""
    return b"".join(
        (
            encode_begin(request_id, role, keep_conn=keep_conn),
            encode_params(request_id, params),
            frame_stream(STDIN, request_id, body),
            encode_stdin(request_id, b""),
        )
    )


def encode_begin(request_id: int, role: int = Role.RESPONDER, *, keep_conn: bool = False) -> bytes:
    """BEGIN_REQUEST; without `keep_conn` the application closes after its response."""
    body = _BEGIN_BODY.pack(role, KEEP_CONN if keep_conn else 0)
    return frame(BEGIN_REQUEST, request_id, body)


def encode_params(request_id: int, params: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole PARAMS stream, with the empty record that ends it."""
    return frame_stream(PARAMS, request_id, encode_pairs(params)) + frame(PARAMS, request_id, b"")


def encode_stdin(request_id: int, data: bytes) -> bytes:
    """A piece of the body as STDIN records; an empty piece is the record that ends the body."""
    return frame_stream(STDIN, request_id, data) or frame(STDIN, request_id, b"")


def encode_abort(request_id: int) -> bytes:
    """ABORT_REQUEST: the application shall end this request soon."""
    return frame(ABORT_REQUEST, request_id, b"")


def encode_get_values(names: Iterable[bytes]) -> bytes:
    """GET_VALUES: asks the application for the values of those of the names that it knows."""
    return frame(GET_VALUES, 0, encode_pairs((name, b"") for name in names))
