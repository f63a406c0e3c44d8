"""What an application writes: the bytes of its responses.

Padding and reserved bytes are always zero (a peer's uninitialised ones leaked memory,
CVE-2023-0836), and no record is longer than its length field can say: HAProxy once cut a length to
16 bits, and body bytes were read as records.
"""

from struct import Struct

from pyfpm.fastcgi.records import (
    END_REQUEST,
    GET_VALUES_RESULT,
    HEADER,
    SPLIT_BYTES,
    STDERR,
    STDOUT,
    UNKNOWN_TYPE,
    VERSION,
    frame,
    frame_stream,
)

_COPY_BYTES = 8192  # up to here a copy costs less than a second buffer in the system call

_END = Struct(">BBHHBxIB3x")
_EMPTY_AND_END = Struct(">BBHHBxBBHHBxIB3x")
_UNKNOWN = Struct(">B7x")

# Nearly all requests have the id 1, and packing costs as much as all else about a reply.
_USUAL_BEGIN = bytes((VERSION, STDOUT, 0, 1))
_USUAL_END = _EMPTY_AND_END.pack(VERSION, STDOUT, 1, 0, 0, VERSION, END_REQUEST, 1, 8, 0, 0, 0)
_NO_PADDING = b"\0\0"
_BYTES = tuple(bytes((number,)) for number in range(256))

_pack_header = HEADER.pack
_pack_empty_and_end = _EMPTY_AND_END.pack


def encode_response(request_id: int, head: bytes, body: bytes) -> bytes:
    """A whole response as one write: STDOUT, the empty STDOUT, END_REQUEST with status 0."""
    length = len(head) + len(body)
    if request_id == 1 and 0 < length <= SPLIT_BYTES:
        high, low = _BYTES[length >> 8], _BYTES[length & 255]
        return b"".join((_USUAL_BEGIN, high, low, _NO_PADDING, head, body, _USUAL_END))
    end = _pack_empty_and_end(
        VERSION, STDOUT, request_id, 0, 0, VERSION, END_REQUEST, request_id, 8, 0, 0, 0
    )
    if 0 < length <= SPLIT_BYTES:
        return b"".join((_pack_header(VERSION, STDOUT, request_id, length, 0), head, body, end))
    return frame_stream(STDOUT, request_id, head + body) + end


def encode_stdout(request_id: int, data: bytes | memoryview) -> list[bytes | memoryview]:
    """`data` as STDOUT records, in buffers for one gathered write; long data is not copied.

    Empty data gives no record: it would end the stream.
    """
    length = len(data)
    if 0 < length <= _COPY_BYTES:
        return [_pack_header(VERSION, STDOUT, request_id, length, 0) + data]
    if 0 < length <= SPLIT_BYTES:
        return [_pack_header(VERSION, STDOUT, request_id, length, 0), data]
    buffers: list[bytes | memoryview] = []
    view = memoryview(data)
    for start in range(0, length, SPLIT_BYTES):
        piece = view[start : start + SPLIT_BYTES]
        buffers += (_pack_header(VERSION, STDOUT, request_id, len(piece), 0), piece)
    return buffers


def encode_stdout_header(request_id: int, length: int) -> bytes:
    """The header of a STDOUT record whose 1 to 65,535 bytes of content are sent by other means."""
    return _pack_header(VERSION, STDOUT, request_id, length, 0)


def encode_stderr(request_id: int, data: bytes) -> bytes:
    """`data` as STDERR records. nginx counts them against its header buffer: keep them small."""
    return frame_stream(STDERR, request_id, data)


def encode_end(request_id: int, app_status: int = 0, protocol_status: int = 0) -> bytes:
    """The empty STDOUT that ends the stream, then END_REQUEST."""
    return _pack_empty_and_end(
        VERSION, STDOUT, request_id, 0, 0,
        VERSION, END_REQUEST, request_id, 8, 0,
        app_status, protocol_status,
    )  # fmt: skip


def encode_end_request(request_id: int, app_status: int = 0, protocol_status: int = 0) -> bytes:
    """END_REQUEST alone, for a request that was refused before it had a stream.

    `app_status` is the CGI exit status (32 bits), `protocol_status` a ProtocolStatus.
    """
    return _END.pack(VERSION, END_REQUEST, request_id, 8, 0, app_status, protocol_status)


def encode_values_result(pairs: bytes) -> bytes:
    """The answer to GET_VALUES; `pairs` are encoded and at most 65,535 bytes."""
    return frame(GET_VALUES_RESULT, 0, pairs)


def encode_unknown_type(kind: int) -> bytes:
    """The answer to a management record of a type that is not known."""
    return frame(UNKNOWN_TYPE, 0, _UNKNOWN.pack(kind))
