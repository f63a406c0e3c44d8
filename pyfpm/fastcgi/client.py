"""The web server's side of a connection, without any I/O."""

from struct import Struct

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi.events import ClientEvent, EndRequest, Stderr, Stdout, Unknown, Values
from pyfpm.fastcgi.pairs import decode_pairs
from pyfpm.fastcgi.records import (
    END_REQUEST,
    GET_VALUES_RESULT,
    STDERR,
    STDOUT,
    UNKNOWN_TYPE,
    RecordReader,
)

_END_BODY = Struct(">IB3x")


class ClientConnection:
    """Reads what an application answers; what to write comes from the `encode_…` functions.

    It does not know which requests are open: the caller compares the ids of the events with its
    own. The empty records that end STDOUT and STDERR give no event, END_REQUEST is the end.
    """

    __slots__ = ("_reader",)

    def __init__(self) -> None:
        self._reader = RecordReader()

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an unfinished record held back; not 0 at the peer's close means truncation."""
        return self._reader.buffered_bytes

    def receive(self, data: bytes) -> list[ClientEvent]:
        """The events in `data`. Raises ProtocolError for what no application may send."""
        events: list[ClientEvent] = []
        for kind, request_id, content in self._reader.feed(data):
            if request_id == 0:
                events.append(_read_management(kind, content))
            elif kind == STDOUT:
                if content:
                    events.append(Stdout(request_id, content))
            elif kind == STDERR:
                if content:
                    events.append(Stderr(request_id, content))
            elif kind == END_REQUEST and len(content) == _END_BODY.size:
                events.append(EndRequest(request_id, *_END_BODY.unpack(content)))
            else:
                raise ProtocolError(
                    f"reply: type {kind} with {len(content)} bytes for request {request_id}"
                )
        return events


def _read_management(kind: int, content: bytes) -> ClientEvent:
    if kind == GET_VALUES_RESULT:
        return Values(decode_pairs(content))
    if kind == UNKNOWN_TYPE and len(content) == 8:
        return Unknown(content[0])
    raise ProtocolError(f"reply: type {kind} with {len(content)} bytes without a request id")
