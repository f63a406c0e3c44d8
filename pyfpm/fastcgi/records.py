"""The records of FastCGI: their eight-byte header, and the way from a byte stream to records.

FastCGI 1.0 §3.3. A record is version (1), type, request id (16 bits), content length (16 bits),
padding length (8 bits) and a reserved byte, all big-endian; then content and padding. The largest
record is therefore 8 + 65,535 + 255 bytes, and content + padding needs more than 16 bits.
"""

from enum import IntEnum
from struct import Struct

from pyfpm.errors import ProtocolError

VERSION = 1
HEADER_BYTES = 8

# What our own writer puts into one record at most. The format allows 65,535; 65,528 is the largest
# multiple of eight below, so that the records of a long stream stay aligned without padding.
SPLIT_BYTES = 65_528

# Record types as plain integers: the parser compares them for each record, and an IntEnum member
# costs an attribute look-up through the class every time.
BEGIN_REQUEST = 1
ABORT_REQUEST = 2
END_REQUEST = 3
PARAMS = 4
STDIN = 5
STDOUT = 6
STDERR = 7
DATA = 8
GET_VALUES = 9
GET_VALUES_RESULT = 10
UNKNOWN_TYPE = 11

KEEP_CONN = 1  # bit 0 of the flags of BEGIN_REQUEST

HEADER = Struct(">BBHHBx")

_unpack_header = HEADER.unpack_from


class Role(IntEnum):
    """What the web server wants of the application (§6)."""

    RESPONDER = 1
    AUTHORIZER = 2
    FILTER = 3


class ProtocolStatus(IntEnum):
    """How a request ended, as far as the protocol is concerned (§5.5)."""

    REQUEST_COMPLETE = 0
    CANT_MPX_CONN = 1
    OVERLOADED = 2
    UNKNOWN_ROLE = 3


def frame(kind: int, request_id: int, content: bytes) -> bytes:
    """One record of at most 65,535 bytes of content, without padding, reserved byte zero."""
    return HEADER.pack(VERSION, kind, request_id, len(content), 0) + content


def frame_stream(kind: int, request_id: int, data: bytes) -> bytes:
    """As many records as `data` needs; none for empty data, which would end the stream."""
    if 0 < len(data) <= SPLIT_BYTES:
        return frame(kind, request_id, data)
    parts: list[bytes | memoryview] = []
    view = memoryview(data)
    for start in range(0, len(data), SPLIT_BYTES):
        piece = view[start : start + SPLIT_BYTES]
        parts += (HEADER.pack(VERSION, kind, request_id, len(piece), 0), piece)
    return b"".join(parts)


class RecordReader:
    """Cuts a byte stream into records, whatever the sizes of the pieces it arrives in.

    Holds at most one unfinished record and the read that began it. Bytes are copied when a record
    is cut out, and the tail of a read once more when the rest of its record has come: the work
    grows with the length of the stream, never with its square.
    """

    __slots__ = ("_wanted_bytes", "pending")

    def __init__(self) -> None:
        self.pending = bytearray()
        """The unfinished record that is held back, always this same object."""
        self._wanted_bytes = HEADER_BYTES  # what `pending` must hold before parsing is of use

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an unfinished record held back."""
        return len(self.pending)

    def take_unfinished(self) -> bytes:
        """The unfinished record, which is forgotten here: somebody else reads on."""
        unfinished = bytes(self.pending)
        self.pending.clear()
        return unfinished

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """The records completed by `data`, each as (type, request id, content).

        Raises ProtocolError for a version other than 1: the stream is out of step, and nothing
        after it can be trusted.
        """
        records: list[tuple[int, int, bytes]] = []
        pending = self.pending
        if pending:
            if len(pending) + len(data) < self._wanted_bytes:
                pending += data
                return records
            data = b"".join((pending, data))
            pending.clear()
        position = 0
        end = len(data)
        wanted = HEADER_BYTES
        while end - position >= HEADER_BYTES:
            version, kind, request_id, length, padding = _unpack_header(data, position)
            if version != VERSION:
                raise ProtocolError(f"record: version {version}, only 1 is known")
            start = position + HEADER_BYTES
            stop = start + length
            after = stop + padding
            if after > end:
                wanted = after - position
                break
            records.append((kind, request_id, data[start:stop]))
            position = after
        if position < end:
            pending += data[position:]
            self._wanted_bytes = wanted
        return records
