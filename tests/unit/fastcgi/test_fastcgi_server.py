"""The application's side: what a peer may do, what is ignored, and what ends the connection."""

import struct
import tracemalloc

import pytest

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import (
    Abort,
    Begin,
    ClientConnection,
    Data,
    DataEnd,
    EndRequest,
    Limits,
    Params,
    ProtocolStatus,
    Role,
    Send,
    ServerConnection,
    Stdin,
    StdinEnd,
    Unknown,
    Values,
    encode_abort,
    encode_begin,
    encode_get_values,
    encode_pairs,
    encode_params,
    encode_request,
    encode_stdin,
)
from pyfpm.fastcgi.records import DATA, PARAMS, STDIN, frame

PAIRS = [(b"REQUEST_METHOD", b"GET"), (b"SCRIPT_NAME", b"/")]
ALL_TYPES = range(256)


@pytest.fixture
def connection():
    return ServerConnection(
        values={"FCGI_MAX_CONNS": "8", "FCGI_MAX_REQS": "8", "FCGI_MPXS_CONNS": "0"}
    )


def answers(events):
    """What the peer reads from the Send events."""
    return ClientConnection().receive(b"".join(e.data for e in events if isinstance(e, Send)))


def test_whole_request_in_one_read_gives_its_events(connection):
    """A GET is begun, described and complete at once."""
    assert connection.receive(encode_request(1, PAIRS)) == [
        Begin(1, Role.RESPONDER, False),
        Params(1, PAIRS),
        StdinEnd(1),
    ]


def test_body_is_passed_on_record_by_record(connection):
    """The body comes as it arrives, before its end is known."""
    connection.receive(encode_begin(1) + encode_params(1, PAIRS))
    assert connection.receive(encode_stdin(1, b"abc")) == [Stdin(1, b"abc")]
    assert connection.receive(encode_stdin(1, b"def") + encode_stdin(1, b"")) == [
        Stdin(1, b"def"),
        StdinEnd(1),
    ]


def test_begin_tells_the_flag_of_the_connection(connection):
    """Bit 0 is KEEP_CONN; the other bits mean nothing."""
    flags = 0xFE
    body = struct.pack(">HB5x", 1, flags)
    assert connection.receive(frame(1, 9, body)) == [Begin(9, Role.RESPONDER, False)]
    connection.request_ended()
    assert connection.receive(encode_begin(9, keep_conn=True)) == [Begin(9, Role.RESPONDER, True)]


@pytest.mark.parametrize("request_id", [1, 777, 65_535])
def test_any_id_is_taken(connection, request_id):
    """The web server chooses the ids."""
    events = connection.receive(encode_request(request_id, PAIRS))
    assert {event.request_id for event in events} == {request_id}


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 7])
def test_parameters_straddling_records_are_one_stream(connection, piece):
    """A pair, even a length field, may lie across any number of PARAMS records."""
    pairs = [(b"LONG", b"v" * 500), (b"N" * 200, b""), (b"A", b"b")]
    stream = encode_pairs(pairs)
    records = [
        frame(PARAMS, 1, stream[start : start + piece]) for start in range(0, len(stream), piece)
    ]
    events = connection.receive(encode_begin(1) + b"".join(records) + frame(PARAMS, 1, b""))
    assert events[1:] == [Params(1, pairs)]


def test_request_without_parameters_is_passed_on(connection):
    """An empty stream is a stream; what is missing is for CGI to say."""
    assert connection.receive(encode_begin(1) + encode_params(1, [])) == [
        Begin(1, Role.RESPONDER, False),
        Params(1, []),
    ]


def test_next_request_on_a_kept_connection_is_taken(connection):
    """After the end of one request the same id may begin again."""
    for _ in range(3):
        events = connection.receive(encode_request(1, PAIRS, b"body", keep_conn=True))
        assert [type(event) for event in events] == [Begin, Params, Stdin, StdinEnd]
        assert not connection.is_quiet()
        connection.request_ended()
        assert connection.is_quiet()


def test_late_records_of_an_ended_request_are_skipped(connection):
    """After an early answer the rest of the body and an ABORT are still under way."""
    connection.receive(encode_begin(1) + encode_params(1, PAIRS) + encode_stdin(1, b"a"))
    connection.request_ended()
    late = encode_stdin(1, b"b") + encode_stdin(1, b"") + encode_abort(1)
    assert connection.receive(late) == []
    assert connection.receive(encode_request(1, PAIRS))[0] == Begin(1, Role.RESPONDER, False)


def test_records_of_a_request_never_begun_are_skipped(connection):
    """FastCGI §3.3: records with an inactive id are ignored, also beside an active one."""
    connection.receive(encode_begin(1))
    others = encode_params(2, PAIRS) + encode_stdin(2, b"x") + encode_abort(2) + frame(DATA, 2, b"")
    assert connection.receive(others + encode_params(1, PAIRS)) == [Params(1, PAIRS)]


@pytest.mark.parametrize("stage", ["PARAMS", "STDIN", "COMPLETE"])
def test_abort_ends_the_events_of_a_request(connection, stage):
    """ABORT is heard at every stage, and nothing of the request follows it."""
    bytes_before = {
        "PARAMS": encode_begin(1) + frame(PARAMS, 1, b"\x01"),
        "STDIN": encode_begin(1) + encode_params(1, PAIRS) + encode_stdin(1, b"a"),
        "COMPLETE": encode_request(1, PAIRS),
    }[stage]
    connection.receive(bytes_before)
    assert connection.receive(encode_abort(1)) == [Abort(1)]
    assert connection.receive(frame(PARAMS, 1, b"a") + encode_stdin(1, b"") + encode_abort(1)) == []
    assert not connection.is_quiet()
    connection.request_ended()
    assert connection.is_quiet()
    assert connection.buffered_bytes == 0


def test_second_request_on_a_busy_connection_is_refused_politely(connection):
    """Another id gets CANT_MPX_CONN, its records are skipped, the first request goes on."""
    connection.receive(encode_begin(1))
    events = connection.receive(encode_request(2, PAIRS, b"body"))
    assert answers(events) == [EndRequest(2, 0, ProtocolStatus.CANT_MPX_CONN)]
    assert len(events) == 1
    assert not events[0].close
    assert connection.receive(encode_params(1, PAIRS)) == [Params(1, PAIRS)]


def test_begin_of_the_active_request_is_smuggling(connection):
    """The same id twice means that body bytes were taken for records somewhere."""
    connection.receive(encode_request(1, PAIRS))
    with pytest.raises(ProtocolError, match="active already"):
        connection.receive(encode_begin(1))


@pytest.mark.parametrize("role", [0, Role.FILTER, 4, 257, 65_535])
@pytest.mark.parametrize("keep_conn", [True, False])
def test_role_not_served_is_refused(connection, role, keep_conn):
    """UNKNOWN_ROLE, then close unless the peer keeps the connection, which stays usable."""
    events = connection.receive(encode_request(1, PAIRS, b"body", role=role, keep_conn=keep_conn))
    assert answers(events) == [EndRequest(1, 0, ProtocolStatus.UNKNOWN_ROLE)]
    assert [event.close for event in events] == [not keep_conn]
    assert connection.is_quiet()
    assert connection.receive(encode_request(1, PAIRS))[0] == Begin(1, Role.RESPONDER, False)


@pytest.mark.parametrize("tail", [b"", encode_stdin(1, b"")])
def test_authorizer_is_complete_after_its_parameters(connection, tail):
    """An authorizer has no body, whether or not the peer sends the end of one."""
    request = encode_begin(1, Role.AUTHORIZER) + encode_params(1, PAIRS) + tail
    assert connection.receive(request) == [
        Begin(1, Role.AUTHORIZER, False),
        Params(1, PAIRS),
        StdinEnd(1),
    ]


def test_body_for_an_authorizer_is_refused(connection):
    """§6.3: an authorizer gets no STDIN."""
    with pytest.raises(ProtocolError):
        connection.receive(encode_request(1, PAIRS, b"body", role=Role.AUTHORIZER))


def test_filter_gets_its_file_where_it_is_served():
    """A filter's file follows the body."""
    connection = ServerConnection(roles=[Role.FILTER])
    request = encode_request(1, PAIRS, b"body", role=Role.FILTER)
    events = connection.receive(request + frame(DATA, 1, b"file") + frame(DATA, 1, b""))
    assert events[2:] == [Stdin(1, b"body"), StdinEnd(1), Data(1, b"file"), DataEnd(1)]
    with pytest.raises(ProtocolError):
        connection.receive(frame(DATA, 1, b"more"))


def test_get_values_is_answered_with_what_is_known(connection):
    """Known names come with their values, each once; unknown names are left out."""
    names = [b"FCGI_MPXS_CONNS", b"FCGI_MAX_REQS", b"OTHER", b"FCGI_MAX_REQS"]
    assert answers(connection.receive(encode_get_values(names))) == [
        Values([(b"FCGI_MPXS_CONNS", b"0"), (b"FCGI_MAX_REQS", b"8")])
    ]


def test_get_values_without_known_names_is_answered_empty(connection):
    """The peer waits for an answer even if there is nothing to say."""
    assert answers(connection.receive(encode_get_values([b"OTHER"]))) == [Values([])]


def test_get_values_in_the_middle_of_a_request_does_not_disturb_it(connection):
    """Management records belong to the connection."""
    connection.receive(encode_begin(1))
    connection.receive(encode_get_values([b"FCGI_MAX_CONNS"]))
    assert connection.receive(encode_params(1, PAIRS)) == [Params(1, PAIRS)]


def test_get_values_cut_inside_a_pair_is_refused(connection):
    """It is one record, so nothing can follow."""
    with pytest.raises(ProtocolError):
        connection.receive(frame(9, 0, b"\x05\x00FC"))


@pytest.mark.parametrize("kind", [0, 10, 12, 77, 255])
def test_unknown_management_type_is_named_in_the_answer(connection, kind):
    """UNKNOWN_TYPE carries the type; the connection goes on."""
    events = connection.receive(frame(kind, 0, b"whatever"))
    assert answers(events) == [Unknown(kind)]
    assert connection.receive(encode_begin(1))


def test_unknown_type_from_the_peer_is_not_answered(connection):
    """Two peers that answered each other's UNKNOWN_TYPE would never stop."""
    assert connection.receive(frame(11, 0, b"\x0c" + b"\0" * 7)) == []


@pytest.mark.parametrize("kind", range(1, 9))
def test_application_record_without_id_is_refused(connection, kind):
    """Id 0 is for management records."""
    with pytest.raises(ProtocolError, match="without a request id"):
        connection.receive(frame(kind, 0, b"\0" * 8))


@pytest.mark.parametrize("kind", [kind for kind in ALL_TYPES if kind not in (1, 2, 4, 5, 8)])
def test_type_that_no_web_server_sends_is_refused(connection, kind):
    """Replies, management records with an id and unknown types mean a stream out of step."""
    connection.receive(encode_begin(1))
    for request_id in (1, 2):
        with pytest.raises(ProtocolError, match="not for an application"):
            ServerConnection().receive(frame(kind, request_id, b""))
        with pytest.raises(ProtocolError):
            connection.receive(frame(kind, request_id, b""))


@pytest.mark.parametrize("length", [0, 7, 9, 16])
def test_begin_of_a_wrong_length_is_refused(connection, length):
    """Its body is eight bytes."""
    with pytest.raises(ProtocolError, match="instead of 8"):
        connection.receive(frame(1, 1, (b"\0\1" + b"\0" * 20)[:length]))


@pytest.mark.parametrize(
    "misplaced",
    [
        encode_begin(1) + encode_stdin(1, b"x"),
        encode_begin(1) + encode_stdin(1, b""),
        encode_begin(1) + encode_params(1, PAIRS) + frame(PARAMS, 1, b""),
        encode_begin(1) + encode_params(1, PAIRS) + frame(PARAMS, 1, b"\x00\x00"),
        encode_request(1, PAIRS) + encode_stdin(1, b"x"),
        encode_request(1, PAIRS) + encode_stdin(1, b""),
        encode_request(1, PAIRS) + frame(DATA, 1, b"x"),
        encode_begin(1) + frame(DATA, 1, b""),
    ],
)
def test_stream_at_the_wrong_time_is_refused(connection, misplaced):
    """PARAMS, then STDIN, each ended once."""
    with pytest.raises(ProtocolError):
        connection.receive(misplaced)


def test_parameters_cut_inside_a_pair_are_refused(connection):
    """The end of the stream is the end: nothing is guessed."""
    with pytest.raises(ProtocolError):
        connection.receive(
            encode_begin(1) + frame(PARAMS, 1, b"\x04\x09NAMEv") + frame(PARAMS, 1, b"")
        )


def test_parameters_beyond_the_limit_are_refused_before_they_are_joined():
    """The limit admits exactly its bytes, over any number of records."""
    stream = encode_pairs([(b"N", b"v" * 95)])
    assert len(stream) == 98
    for limit, allowed in ((98, True), (97, False)):
        connection = ServerConnection(Limits(max_params_bytes=limit))
        request = encode_begin(1) + frame(PARAMS, 1, stream[:50]) + frame(PARAMS, 1, stream[50:])
        if allowed:
            connection.receive(request)
            assert connection.buffered_bytes == 98
        else:
            with pytest.raises(ProtocolError, match="limit 97"):
                connection.receive(request)


def test_many_tiny_records_hold_no_more_than_their_bytes():
    """A peer cannot multiply the memory of its parameters by cutting them small."""
    connection = ServerConnection()
    connection.receive(encode_begin(1))
    piece = frame(PARAMS, 1, b"ab") * 100
    tracemalloc.start()
    for _ in range(500):
        connection.receive(piece)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert connection.buffered_bytes == 100_000
    assert held < 300_000


def test_parameters_in_many_records_grow_in_place(connection):
    """Half a million tiny records must not copy what came before each of them."""
    connection.receive(encode_begin(1) + frame(PARAMS, 1, b"ab") * 2)
    stream = connection._params
    connection.receive(frame(PARAMS, 1, b"ab") * 100)
    assert connection._params is stream
    assert len(stream) == 204


def test_buffered_bytes_count_both_buffers(connection):
    """The caller bounds memory over all connections by this number."""
    connection.receive(encode_begin(1) + frame(PARAMS, 1, b"abc") + frame(PARAMS, 1, b"defg")[:9])
    assert connection.buffered_bytes == 3 + 9


def test_connection_with_a_piece_of_a_record_is_not_quiet(connection):
    """Only a connection without buffered bytes may change its process."""
    assert connection.is_quiet()
    connection.receive(encode_begin(1)[:3])
    assert not connection.is_quiet()


def test_stdin_in_the_same_read_as_the_end_of_the_request_before_is_kept_apart(connection):
    """A late end of body and the next BEGIN may share a read."""
    connection.receive(encode_begin(1) + encode_params(1, PAIRS) + encode_stdin(1, b"a"))
    connection.request_ended()
    events = connection.receive(encode_stdin(1, b"") + encode_request(1, PAIRS, b"new"))
    assert events[2:] == [Stdin(1, b"new"), StdinEnd(1)]


def test_unfinished_stdin_record_waits(connection):
    """A record is passed on whole."""
    connection.receive(encode_begin(1) + encode_params(1, PAIRS))
    whole = frame(STDIN, 1, b"abcdef")
    assert connection.receive(whole[:-2]) == []
    assert connection.receive(whole[-2:]) == [Stdin(1, b"abcdef")]
