"""The FastCGI codec: any bytes, cut anywhere, are the same events, and those of the rules."""

from collections.abc import Callable

from fuzz.choices import Choices, cut_anywhere
from fuzz.codec_rules import Application, BrokenError, split_pairs, split_records

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import (
    ClientConnection,
    EndRequest,
    Limits,
    Params,
    ServerConnection,
    Stderr,
    Stdin,
    StdinEnd,
    StdinReader,
    Stdout,
    Unknown,
    Values,
    decode_pairs,
    encode_begin,
    encode_pairs,
    encode_params,
)
from pyfpm.fastcgi.events import Abort, Begin, DataEnd
from pyfpm.fastcgi.records import Role

SMALL = Limits(max_params_bytes=600, max_params_count=9, max_name_bytes=127)
LIMITS = (Limits(), SMALL)
ROLES = ({Role.RESPONDER, Role.AUTHORIZER}, set(Role))
VALUES = {"FCGI_MAX_CONNS": "1000", "FCGI_MPXS_CONNS": "0"}
_VALUES = {name.encode(): value.encode() for name, value in VALUES.items()}
LONGEST_BY_BYTES = 2000
"""One call for each byte is what takes the time here."""

Outcome = tuple[list[object], bool]
"""What came of a stream, and whether it broke."""


def events_of(receive: Callable[[bytes], list[object]], pieces: list[bytes]) -> Outcome:
    events: list[object] = []
    try:
        for piece in pieces:
            events += receive(piece)
    except ProtocolError:
        return events, True
    return events, False


def expect_same(one: Outcome, other: Outcome, what: str) -> None:
    """Compare: of a call that breaks, the events before the break are lost."""
    events, broke = one
    expected, should_break = other
    assert broke == should_break, f"{what}: broke {broke}, should {should_break}"
    assert events == (expected[: len(events)] if broke else expected), f"{what}: {one} {other}"


def rules_of(stream: bytes, limits: Limits, roles: set[Role], *, ends_requests: bool) -> Outcome:
    application = Application(limits, roles, _VALUES, ends_requests=ends_requests)
    try:
        application.read(stream)
    except BrokenError:
        return list(application.events), True
    return list(application.events), False


def fuzz_server(data: bytes) -> None:
    """The application's side of a connection."""
    choices = Choices(data)
    limits, roles, dice = LIMITS[choices.number(2)], ROLES[choices.number(2)], choices.number(256)
    stream = choices.rest()

    def connection() -> ServerConnection:
        return ServerConnection(limits, VALUES, roles)

    expected = rules_of(stream, limits, roles, ends_requests=False)
    expect_same(events_of(connection().receive, [stream]), expected, "in one piece")
    pieces = cut_anywhere(stream, dice)
    one = connection()
    expect_same(events_of(one.receive, pieces), expected, "in pieces")
    most = limits.max_params_bytes + 8 + 65_535 + 255
    assert one.buffered_bytes <= most, f"holds {one.buffered_bytes} bytes"
    check_whole(connection(), connection(), stream, limits)
    head = stream[:LONGEST_BY_BYTES]
    answered = events_by_bytes(connection(), head)
    expected = rules_of(head, limits, roles, ends_requests=True)
    assert answered == expected, f"byte by byte: {answered} instead of {expected}"


def check_whole(
    one: ServerConnection, other: ServerConnection, stream: bytes, limits: Limits
) -> None:
    """What is taken whole says the same as the events would."""
    expected = events_of(other.receive, [stream])
    whole = one.receive_whole(stream)
    if whole is None:
        assert one.is_quiet(), "receive_whole changed something"
        assert events_of(one.receive, [stream]) == expected, "after receive_whole"
        return
    keep, params, body = whole
    try:
        pairs = decode_pairs(params, limits)
    except ProtocolError:
        assert expected[1], "receive_whole took parameters that are broken"
    else:
        parts = [Params(1, pairs), *([Stdin(1, body)] if body else []), StdinEnd(1)]
        assert expected == ([Begin(1, Role.RESPONDER, keep), *parts], False), "taken whole"
        assert (one.is_quiet(), one.buffered_bytes) == (other.is_quiet(), other.buffered_bytes)
    one.request_ended()
    assert one.is_quiet()


def events_by_bytes(connection: ServerConnection, stream: bytes) -> Outcome:
    """The worst cut of all; each request is answered as soon as it is complete."""
    events: list[object] = []
    role = 0
    try:
        for at in range(len(stream)):
            for event in connection.receive(stream[at : at + 1]):
                events.append(event)
                if isinstance(event, Begin):
                    role = event.role
                is_end = isinstance(event, StdinEnd) and role != Role.FILTER
                if is_end or isinstance(event, Abort | DataEnd):
                    connection.request_ended()
    except ProtocolError:
        return events, True
    return events, False


def fuzz_client(data: bytes) -> None:
    """The web server's side of a connection."""
    choices = Choices(data)
    dice = choices.number(256)
    stream = choices.rest()
    expected = replies_of(stream)
    expect_same(events_of(ClientConnection().receive, [stream]), expected, "in one piece")
    pieces = cut_anywhere(stream, dice)
    expect_same(events_of(ClientConnection().receive, pieces), expected, "in pieces")


def replies_of(stream: bytes) -> Outcome:
    """What an application may say, by the rules."""
    events: list[object] = []
    try:
        for kind, request_id, content in split_records(stream):
            match kind, request_id, len(content):
                case 10, 0, _:
                    events.append(Values(split_pairs(content, Limits())))
                case 11, 0, 8:
                    events.append(Unknown(content[0]))
                case 6 | 7, number, size if number:
                    if size:
                        events.append((Stdout if kind == 6 else Stderr)(number, content))
                case 3, number, 8 if number:
                    status = int.from_bytes(content[:4], "big")
                    events.append(EndRequest(number, status, content[4]))
                case _:
                    return events, True
    except BrokenError:
        return events, True
    return events, False


def fuzz_long_body(data: bytes) -> None:
    """A body that a StdinReader takes out, and what is left of the stream for the codec.

    Whatever both see together is what the codec alone would have seen.
    """
    choices = Choices(data)
    dice, request_id, reads = choices.number(256), choices.number(3) + 1, choices.number(256)
    stream = complete(choices.rest())
    begun = encode_begin(request_id) + encode_params(request_id, [(b"REQUEST_METHOD", b"PUT")])
    alone = ServerConnection()
    alone.receive(begun)
    events, broke = events_of(alone.receive, [stream])
    body, others = take_apart(events)
    together = ServerConnection()
    together.receive(begun)
    read, (passed_on, broke_too) = read_body(
        together, request_id, cut_anywhere(stream, dice), reads
    )
    assert broke_too == broke, f"broke {broke_too}, should {broke}"
    if not broke:
        # Content that the application did not read is nobody's.
        assert body.startswith(read), f"read {read!r} of {body!r}"
        assert take_apart(passed_on)[1] == others, f"{passed_on} beside the body of {events}"


def read_body(
    connection: ServerConnection, request_id: int, pieces: list[bytes], reads: int
) -> tuple[bytes, Outcome]:
    """Read as a worker does: content first, other records to the codec, at the end the rest.

    The application reads so many times and no more.
    """
    read = b""
    events: list[object] = []
    target = memoryview(bytearray(97))
    waiting = pieces[1:]
    try:
        reader = StdinReader(request_id, pieces[0])
        while reads:
            if size := reader.take(target):
                read += target[:size]
                reads -= 1
            elif record := reader.take_record():
                passed_on = connection.receive(record)
                events += passed_on
                if any(isinstance(event, StdinEnd | Abort) for event in passed_on):
                    break
            elif waiting:
                piece = waiting.pop(0)
                reader.room()[: len(piece)] = piece
                reader.received(len(piece))
            else:
                break
        for piece in [reader.take_rest(), *waiting]:
            events += connection.receive(piece)
    except ProtocolError:
        return read, (events, True)
    return read, (events, False)


def take_apart(events: list[object]) -> tuple[bytes, list[object]]:
    """The body, and everything else."""
    body = b"".join(event.data for event in events if isinstance(event, Stdin))
    return body, [event for event in events if not isinstance(event, Stdin)]


def complete(stream: bytes) -> bytes:
    """The stream with its last record whole: of an unfinished one a reader gives the beginning."""
    at = 0
    while at < len(stream):
        head = stream[at : at + 8]
        if len(head) < 8:
            return stream[:at]
        if head[0] != 1:
            return stream
        at += 8 + int.from_bytes(head[4:6], "big") + head[6]
    return stream + bytes(at - len(stream))


def fuzz_pairs(data: bytes) -> None:
    """Names and values, and the way back."""
    choices = Choices(data)
    limits = LIMITS[choices.number(2)]
    stream = choices.rest()
    try:
        pairs = decode_pairs(stream, limits)
    except ProtocolError:
        pairs = None
    try:
        expected = split_pairs(stream, limits)
    except BrokenError:
        expected = None
    assert pairs == expected, f"{pairs} instead of {expected}"
    if pairs is not None:
        assert decode_pairs(encode_pairs(pairs), limits) == pairs
