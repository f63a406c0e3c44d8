"""The application's side of a connection, without any I/O.

Theory of operation. One request at a time is *active*: from its BEGIN until the caller says that
END_REQUEST is written (`request_ended`). It goes through these stages:

    NONE ──BEGIN──▶ PARAMS ──empty PARAMS──▶ STDIN ──empty STDIN──▶ COMPLETE
                                                                (filter: DATA ▶ COMPLETE)
    any of them ──ABORT──▶ ABORTED          any of them ──request_ended──▶ NONE

What is wrong falls in two classes (FastCGI §3.3, §5, and what real peers do):

* *Ignorable*: records of a request that is not active. After an early answer the rest of the body
  is still on its way, and an ABORT may cross our END_REQUEST on the wire.
* *Fatal*, a ProtocolError: anything that says the two sides no longer agree where records begin or
  which request is meant. Record smuggling looks like that: a BEGIN for the active id, an
  application record with id 0, PARAMS after their end, STDIN before it.

Nearly all requests arrive in one piece, alone, under the id 1 and in the same few records.
`receive_whole` knows that shape and returns the request at once; whatever differs from it in a
single bit is left to `receive`, which would have said the same in events.

A BEGIN with another id while one is active is a peer that would like to multiplex: it gets
CANT_MPX_CONN. Roles that the caller does not serve get UNKNOWN_ROLE. Both requests never become
active, so that their records are ignored.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi.events import (
    Abort,
    Begin,
    Data,
    DataEnd,
    Event,
    Params,
    Send,
    Stdin,
    StdinEnd,
)
from pyfpm.fastcgi.limits import Limits
from pyfpm.fastcgi.pairs import decode_pairs, encode_pairs
from pyfpm.fastcgi.records import (
    ABORT_REQUEST,
    BEGIN_REQUEST,
    DATA,
    GET_VALUES,
    KEEP_CONN,
    PARAMS,
    STDIN,
    UNKNOWN_TYPE,
    VERSION,
    ProtocolStatus,
    RecordReader,
    Role,
    frame,
)
from pyfpm.fastcgi.replies import (
    encode_end_request,
    encode_unknown_type,
    encode_values_result,
)
from pyfpm.fastcgi.requests import encode_begin

_STAGE_NONE = 0
_STAGE_PARAMS = 1
_STAGE_STDIN = 2
_STAGE_DATA = 3
_STAGE_COMPLETE = 4
_STAGE_ABORTED = 5

_LAST_APPLICATION_TYPE = DATA
_NOTHING = bytearray()  # what is pending where nothing ever was

DEFAULT_LIMITS = Limits()
DEFAULT_VALUES: Mapping[str, str] = MappingProxyType({"FCGI_MPXS_CONNS": "0"})
DEFAULT_ROLES = frozenset({Role.RESPONDER, Role.AUTHORIZER})

_ROLES = {int(role): role for role in Role}
_RESPONDER = Role.RESPONDER  # looking up a member of an enum, or its hash, costs a call of Python

# What the usual request of a responder begins with, up to the length of its PARAMS, with and
# without a connection that is kept; then what it ends with where it has no body.
_USUAL_ID = 1
_PARAMS_BEGIN = bytes((VERSION, PARAMS, 0, _USUAL_ID))
_KEPT_BEGIN = encode_begin(_USUAL_ID, keep_conn=True) + _PARAMS_BEGIN
_CLOSED_BEGIN = encode_begin(_USUAL_ID) + _PARAMS_BEGIN
_PARAMS_START = len(_KEPT_BEGIN) + 4
_PARAMS_END = frame(PARAMS, _USUAL_ID, b"")
_STDIN_END = frame(STDIN, _USUAL_ID, b"")
_BODY_BEGIN = _PARAMS_END + bytes((VERSION, STDIN, 0, _USUAL_ID))
_BOTH_ENDS = _PARAMS_END + _STDIN_END
_BOTH_ENDS_BYTES = len(_BOTH_ENDS)
_SHORTEST_WHOLE_BYTES = _PARAMS_START + _BOTH_ENDS_BYTES


class ServerConnection:
    """Turns the bytes of one accepted connection into events.

    `limits` bound the parameters of a request. `values` are the answers to GET_VALUES: names and
    values in ASCII (FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS); other names are left out of
    the answer. `roles` are those the caller serves; a filter's file comes as Data events.
    """

    __slots__ = (
        "_active_id",
        "_limits",
        "_params",
        "_pending",
        "_reader",
        "_role",
        "_roles",
        "_serves_responders",
        "_stage",
        "_values",
    )

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        values: Mapping[str, str] = DEFAULT_VALUES,
        roles: Collection[Role] = DEFAULT_ROLES,
    ) -> None:
        self._limits = limits
        self._values = values
        self._roles = roles
        self._serves_responders = _RESPONDER in roles
        self._reader: RecordReader | None = None  # until something is not taken whole
        self._pending = _NOTHING
        self._stage = _STAGE_NONE
        self._active_id = 0  # 0: no request; ids of requests begin at 1
        self._role = _RESPONDER
        self._params: bytes | bytearray = b""

    @property
    def buffered_bytes(self) -> int:
        """Bytes held inside: an unfinished record and an unfinished PARAMS stream."""
        return len(self._pending) + len(self._params)

    @property
    def role(self) -> Role:
        """The role of the active request, or of the one before."""
        return self._role

    def is_quiet(self) -> bool:
        """No request is active and nothing is buffered: another process may go on from here."""
        return not (self._active_id or self._pending)

    def request_ended(self) -> None:
        """END_REQUEST is written: the next BEGIN is welcome, late records of this id are not."""
        self._active_id = 0
        self._stage = _STAGE_NONE
        self._params = b""

    def receive_whole(self, data: bytes) -> tuple[bool, bytes, bytes] | None:
        """The one request of which `data` consists: keep_conn, PARAMS stream (encoded), body.

        The request, whose id is 1, is active afterwards, and complete. None where `data` is
        anything else: nothing has changed then, and `receive` must have it.
        """
        if self._active_id or self._pending or len(data) < _SHORTEST_WHOLE_BYTES:
            return None
        keep_conn = data.startswith(_KEPT_BEGIN)
        if not (keep_conn or data.startswith(_CLOSED_BEGIN)):
            return None
        size = data[20] << 8 | data[21]
        stop = _PARAMS_START + size
        after = stop + data[22]  # the padding
        body = b""
        if len(data) - after != _BOTH_ENDS_BYTES or not data.endswith(_BOTH_ENDS):
            body = _cut_whole_body(data, after)
            if not body:
                return None
        if not (0 < size <= self._limits.max_params_bytes and self._serves_responders):
            return None
        self._active_id = _USUAL_ID
        self._role = _RESPONDER
        self._stage = _STAGE_COMPLETE
        return keep_conn, data[_PARAMS_START:stop], body

    def take_unfinished(self) -> bytes:
        """The unfinished record, forgotten here: for a StdinReader that goes on with it."""
        return self._reader.take_unfinished() if self._reader is not None else b""

    def receive(self, data: bytes) -> list[Event]:
        """The events in `data`, in order; what is incomplete waits for the next call.

        Raises ProtocolError when the peer broke the protocol beyond repair. The connection is of
        no use then: close it, without an answer.
        """
        events: list[Event] = []
        reader = self._reader
        if reader is None:
            reader = self._reader = RecordReader()
            self._pending = reader.pending
        for kind, request_id, content in reader.feed(data):
            if request_id == 0:
                self._take_management(kind, content, events)
            elif kind == BEGIN_REQUEST:
                self._take_begin(request_id, content, events)
            elif request_id != self._active_id or self._stage == _STAGE_ABORTED:
                _check_direction(kind)
            elif kind == STDIN:
                self._take_stdin(content, events)
            elif kind == PARAMS:
                self._take_params(content, events)
            elif kind == ABORT_REQUEST:
                self._stage = _STAGE_ABORTED
                self._params = b""
                events.append(Abort(request_id))
            else:
                _check_direction(kind)
                self._take_data(content, events)
        return events

    def _take_begin(self, request_id: int, content: bytes, events: list[Event]) -> None:
        if len(content) != 8:
            raise ProtocolError(f"BEGIN_REQUEST: {len(content)} bytes instead of 8")
        if request_id == self._active_id:
            raise ProtocolError(f"BEGIN_REQUEST: request {request_id} is active already")
        keep_conn = content[2] & KEEP_CONN != 0
        if self._active_id:
            refusal = encode_end_request(request_id, 0, ProtocolStatus.CANT_MPX_CONN)
            events.append(Send(refusal))
            return
        number = content[0] << 8 | content[1]
        role = _ROLES.get(number)
        if role is None or role not in self._roles:
            refusal = encode_end_request(request_id, 0, ProtocolStatus.UNKNOWN_ROLE)
            events.append(Send(refusal, not keep_conn, f"role {number} is not served"))
            return
        self._active_id = request_id
        self._role = role
        self._stage = _STAGE_PARAMS
        events.append(Begin(request_id, role, keep_conn))

    def _take_params(self, content: bytes, events: list[Event]) -> None:
        if self._stage != _STAGE_PARAMS:
            raise ProtocolError("PARAMS: after the end of the stream")
        params = self._params
        if content:
            size = len(params) + len(content)
            if size > self._limits.max_params_bytes:
                raise ProtocolError(f"PARAMS: {size} bytes, limit {self._limits.max_params_bytes}")
            if not params:
                self._params = content  # most peers send one record: no copy for them
            elif isinstance(params, bytearray):
                params += content
            else:
                self._params = bytearray(params) + content
            return
        self._params = b""
        events.append(Params(self._active_id, decode_pairs(bytes(params), self._limits)))
        self._stage = _STAGE_STDIN
        if self._role == Role.AUTHORIZER:
            # An authorizer has no body (§6.3), and not every peer sends it an empty STDIN.
            self._stage = _STAGE_COMPLETE
            events.append(StdinEnd(self._active_id))

    def _take_stdin(self, content: bytes, events: list[Event]) -> None:
        if self._stage != _STAGE_STDIN:
            if self._role == Role.AUTHORIZER and self._stage == _STAGE_COMPLETE and not content:
                return
            where = "before the end of PARAMS" if self._stage == _STAGE_PARAMS else "after its end"
            raise ProtocolError(f"STDIN: {where}")
        if content:
            events.append(Stdin(self._active_id, content))
            return
        self._stage = _STAGE_DATA if self._role == Role.FILTER else _STAGE_COMPLETE
        events.append(StdinEnd(self._active_id))

    def _take_data(self, content: bytes, events: list[Event]) -> None:
        if self._stage != _STAGE_DATA:
            raise ProtocolError("DATA: only a filter's file, after the end of STDIN")
        if content:
            events.append(Data(self._active_id, content))
            return
        self._stage = _STAGE_COMPLETE
        events.append(DataEnd(self._active_id))

    def _take_management(self, kind: int, content: bytes, events: list[Event]) -> None:
        if kind == GET_VALUES:
            events.append(Send(self._answer_values(content)))
        elif 1 <= kind <= _LAST_APPLICATION_TYPE:
            raise ProtocolError(f"record: type {kind} without a request id")
        elif kind != UNKNOWN_TYPE:  # answering that one, two peers would answer each other forever
            events.append(Send(encode_unknown_type(kind)))

    def _answer_values(self, content: bytes) -> bytes:
        # Each name is answered once, however often it is asked: the answer stays one short record.
        asked = dict.fromkeys(name for name, _ in decode_pairs(content, self._limits))
        known = {
            name.encode("ascii"): value.encode("ascii") for name, value in self._values.items()
        }
        return encode_values_result(
            encode_pairs((name, known[name]) for name in asked if name in known)
        )


def _cut_whole_body(data: bytes, position: int) -> bytes:
    """The content of the one STDIN record after the end of PARAMS; empty if it is not just that."""
    start = position + 16
    if start > len(data) or data[position : start - 4] != _BODY_BEGIN:
        return b""
    size = data[start - 4] << 8 | data[start - 3]
    stop = start + size
    if stop + data[start - 2] != len(data) - len(_STDIN_END) or not data.endswith(_STDIN_END):
        return b""
    return data[start:stop]


def _check_direction(kind: int) -> None:
    """ProtocolError for a type that no web server sends with a request id."""
    if kind not in (ABORT_REQUEST, PARAMS, STDIN, DATA):
        raise ProtocolError(f"record: type {kind} is not for an application")
