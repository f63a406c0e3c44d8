"""FastCGI as the specification and `pyfpm.fastcgi.server` state it, once more and slowly.

What the codec is compared with. Nothing here is shared with it but the events and the limits, and
nothing is clever: a whole stream is there, every record is cut out, one rule after the other.
"""

from collections.abc import Iterator

from pyfpm.fastcgi import (
    Abort,
    Begin,
    Data,
    DataEnd,
    Event,
    Limits,
    Params,
    Send,
    Stdin,
    StdinEnd,
)
from pyfpm.fastcgi.records import Role

BEGIN, ABORT, PARAMS, STDIN, DATA, GET_VALUES, UNKNOWN_TYPE = 1, 2, 4, 5, 8, 9, 11
CANT_MPX_CONN, UNKNOWN_ROLE = 1, 3

Pairs = list[tuple[bytes, bytes]]
Record = tuple[int, int, bytes]


class BrokenError(Exception):
    """The stream is of no use from here on."""


def split_records(stream: bytes) -> Iterator[Record]:
    """Every whole record; BrokenError at a header of another version."""
    while len(stream) >= 8:
        size = int.from_bytes(stream[4:6], "big")
        if stream[0] != 1:
            raise BrokenError
        if len(stream) < 8 + size + stream[6]:
            return
        yield stream[1], int.from_bytes(stream[2:4], "big"), stream[8 : 8 + size]
        stream = stream[8 + size + stream[6] :]


def split_pairs(stream: bytes, limits: Limits) -> Pairs:
    """All pairs; BrokenError for a stream that ends inside one, and beyond the limits."""
    pairs: Pairs = []
    while stream:
        if len(pairs) == limits.max_params_count:
            raise BrokenError
        name_bytes, stream = split_length(stream)
        value_bytes, stream = split_length(stream)
        if name_bytes > limits.max_name_bytes or name_bytes + value_bytes > len(stream):
            raise BrokenError
        pairs.append((stream[:name_bytes], stream[name_bytes : name_bytes + value_bytes]))
        stream = stream[name_bytes + value_bytes :]
    return pairs


def split_length(stream: bytes) -> tuple[int, bytes]:
    """A length of one byte, or of four with the top bit set."""
    size = 4 if stream[:1] >= b"\x80" else 1
    if len(stream) < size:
        raise BrokenError
    return int.from_bytes(stream[:size], "big") % 2**31, stream[size:]


def answer(kind: int, request_id: int, content: bytes) -> bytes:
    """One record without padding."""
    head = bytes((1, kind)) + request_id.to_bytes(2, "big") + len(content).to_bytes(2, "big")
    return head + b"\0\0" + content


class Application:
    """The application's side. With `ends_requests` it answers each request as soon as it may."""

    def __init__(
        self, limits: Limits, roles: set[Role], values: dict[bytes, bytes], *, ends_requests: bool
    ) -> None:
        self.limits, self.roles, self.values = limits, roles, values
        self.ends_requests = ends_requests
        self.active = 0
        self.role = 0
        self.params = b""
        self.expects = ""
        self.events: list[Event] = []

    def read(self, stream: bytes) -> None:
        """Take everything in; BrokenError where the rest is of no use."""
        for kind, request_id, content in split_records(stream):
            self.take(kind, request_id, content)
            if self.ends_requests and self.active and self.expects in {"nothing", "aborted"}:
                self.active = 0

    def take(self, kind: int, request_id: int, content: bytes) -> None:
        if request_id == 0:
            self.manage(kind, content)
        elif kind == BEGIN:
            self.begin(request_id, content)
        elif kind not in {ABORT, PARAMS, STDIN, DATA}:
            raise BrokenError
        elif request_id != self.active or self.expects == "aborted":
            return
        elif kind == ABORT:
            self.expects = "aborted"
            self.events.append(Abort(request_id))
        elif kind == PARAMS:
            self.take_params(content)
        else:
            self.take_body(kind, content)

    def begin(self, request_id: int, content: bytes) -> None:
        if len(content) != 8 or request_id == self.active:
            raise BrokenError
        role, keeps = int.from_bytes(content[:2], "big"), content[2] % 2 == 1
        if self.active:
            self.refuse(request_id, CANT_MPX_CONN, close=False)
        elif role not in self.roles:
            fault = f"role {role} is not served"
            self.refuse(request_id, UNKNOWN_ROLE, close=not keeps, fault=fault)
        else:
            self.active, self.role, self.params, self.expects = request_id, role, b"", "params"
            self.events.append(Begin(request_id, Role(role), keeps))

    def refuse(self, request_id: int, status: int, *, close: bool, fault: str = "") -> None:
        data = answer(3, request_id, bytes(4) + bytes((status, 0, 0, 0)))
        self.events.append(Send(data, close, fault))

    def take_params(self, content: bytes) -> None:
        if self.expects != "params":
            raise BrokenError
        self.params += content
        if len(self.params) > self.limits.max_params_bytes:
            raise BrokenError
        if not content:
            pairs = split_pairs(self.params, self.limits)
            self.events.append(Params(self.active, pairs))
            self.expects = "stdin"
            if self.role == Role.AUTHORIZER:
                self.expects = "nothing"
                self.events.append(StdinEnd(self.active))

    def take_body(self, kind: int, content: bytes) -> None:
        if self.role == Role.AUTHORIZER and self.expects == "nothing" and kind == STDIN:
            if content:
                raise BrokenError
        elif self.expects != {STDIN: "stdin", DATA: "data"}[kind]:
            raise BrokenError
        elif content:
            self.events.append((Stdin if kind == STDIN else Data)(self.active, content))
        elif kind == STDIN:
            self.expects = "data" if self.role == Role.FILTER else "nothing"
            self.events.append(StdinEnd(self.active))
        else:
            self.expects = "nothing"
            self.events.append(DataEnd(self.active))

    def manage(self, kind: int, content: bytes) -> None:
        if kind == GET_VALUES:
            asked = dict.fromkeys(name for name, _ in split_pairs(content, self.limits))
            known = [(name, self.values[name]) for name in asked if name in self.values]
            pairs = b"".join(bytes((len(name), len(value))) + name + value for name, value in known)
            self.events.append(Send(answer(10, 0, pairs)))
        elif 1 <= kind <= DATA:
            raise BrokenError
        elif kind != UNKNOWN_TYPE:
            self.events.append(Send(answer(UNKNOWN_TYPE, 0, bytes((kind,)) + bytes(7))))
