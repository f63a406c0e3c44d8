"""Raw probes that other Python FastCGI responders fail, as far as codec and CGI decide them.

Numbers are those of the list of defects found in flup6 1.1.1; "probe" are records that uWSGI 2.0.31
or gunicorn's FastCGI branch hang on, refuse or answer with HTTP text.
"""

import pytest
from conformance.wire import begin, get_values, params_stream, record

from pyfpm.cgi import EnvironBuilder, format_head
from pyfpm.fastcgi import (
    Abort,
    Begin,
    ClientConnection,
    EndRequest,
    Params,
    ProtocolStatus,
    ServerConnection,
    StdinEnd,
    Stdout,
    Unknown,
    Values,
    decode_pairs,
    encode_pairs,
    encode_request,
    encode_response,
)

GET = (b"REQUEST_METHOD", b"GET")
EMPTY_STDIN = record(5, 1, b"")


@pytest.fixture
def connection():
    return ServerConnection(values={"FCGI_MAX_CONNS": "4", "FCGI_MPXS_CONNS": "0"})


def test_id_777_comes_back():
    """Probe: the reply carries the id of the request."""
    (begun, _, _) = ServerConnection().receive(encode_request(777, [GET]))
    reply = encode_response(begun.request_id, b"Status: 200 OK\r\n\r\n", b"hi")
    assert [event.request_id for event in ClientConnection().receive(reply)] == [777, 777]


def test_three_requests_on_a_kept_connection_are_read(connection):
    """Probe: the empty STDIN belongs to its request and is not found before the next BEGIN."""
    for _ in range(3):
        events = connection.receive(
            begin(1, keep_conn=True) + params_stream(1, [GET], 65_535) + EMPTY_STDIN
        )
        assert [type(event) for event in events] == [Begin, Params, StdinEnd]
        connection.request_ended()
        assert connection.is_quiet()


@pytest.mark.parametrize("cut", range(1, 520, 7))
def test_pair_split_over_two_records_is_whole(connection, cut):
    """Defect 5: a value of 500 bytes became 163."""
    pairs = [GET, (b"HTTP_X", b"v" * 500)]
    stream = encode_pairs(pairs)
    records = record(4, 1, stream[:cut]) + record(4, 1, stream[cut:]) + record(4, 1, b"")
    assert connection.receive(begin(1) + records)[1] == Params(1, pairs)


def test_parameter_of_70000_bytes_is_whole(connection):
    """Probe: one value that no single record can hold."""
    pairs = [GET, (b"HTTP_X", b"v" * 70_000)]
    assert connection.receive(begin(1) + params_stream(1, pairs, 65_535))[1] == Params(1, pairs)


def test_get_values_is_answered(connection):
    """Defect 7 and probe: names are compared as what they are."""
    (answer,) = connection.receive(get_values([b"FCGI_MAX_CONNS", b"FCGI_MPXS_CONNS", b"X"]))
    assert ClientConnection().receive(answer.data) == [
        Values([(b"FCGI_MAX_CONNS", b"4"), (b"FCGI_MPXS_CONNS", b"0")])
    ]


def test_unknown_type_is_answered(connection):
    """Defect 8 and probe: UNKNOWN_TYPE, and the connection serves on."""
    (answer,) = connection.receive(record(42, 0, b""))
    assert ClientConnection().receive(answer.data) == [Unknown(42)]
    assert connection.receive(begin(1))


def test_role_of_a_filter_is_refused(connection):
    """Probe: not served as a responder, not dropped."""
    (answer,) = connection.receive(begin(1, role=3))
    assert ClientConnection().receive(answer.data) == [
        EndRequest(1, 0, ProtocolStatus.UNKNOWN_ROLE)
    ]


def test_second_begin_on_a_busy_connection_is_refused(connection):
    """Probe: CANT_MPX_CONN for the second, and the first goes on."""
    *_, answer = connection.receive(begin(1) + begin(2))
    assert ClientConnection().receive(answer.data) == [
        EndRequest(2, 0, ProtocolStatus.CANT_MPX_CONN)
    ]
    assert connection.receive(params_stream(1, [GET], 10)) == [Params(1, [GET])]


def test_abort_in_the_middle_of_the_parameters_is_heard(connection):
    """Probe: ABORT needs no complete PARAMS."""
    assert connection.receive(begin(1) + record(4, 1, b"\x0e") + record(2, 1, b""))[-1] == Abort(1)


def test_latin_1_header_is_sent():
    """Defect 3: legal headers are not ASCII alone."""
    head = format_head("200 OK", [("X-Name", "J\xfcrgen")], method="GET")
    assert b"\r\nX-Name: J\xfcrgen\r\n" in head.data


def test_missing_server_name_and_port_are_no_failure():
    """Defect 4: a web server may leave both out."""
    environ = EnvironBuilder().build([GET])
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"] == "80"


def test_own_client_understands_own_server(connection):
    """Defect 9: one side of the codec is the test of the other."""
    connection.receive(encode_request(1, [GET]))
    reply = encode_response(1, b"Status: 200 OK\r\n\r\n", b"hi")
    assert ClientConnection().receive(reply) == [
        Stdout(1, b"Status: 200 OK\r\n\r\nhi"),
        EndRequest(1, 0, 0),
    ]


@pytest.mark.parametrize("name_bytes", [0, 1, 127, 128, 300])
@pytest.mark.parametrize("value_bytes", [0, 1, 127, 128, 70_000])
def test_pairs_agree_with_flup(name_bytes, value_bytes):
    """Where flup6 is right (one whole pair), both codecs write and read the same bytes."""
    flup = pytest.importorskip("flup.server.fcgi_base")
    pair = (b"n" * name_bytes, b"v" * value_bytes)
    encoded = flup.encode_pair(*pair)
    assert encode_pairs([pair]) == encoded
    assert decode_pairs(encoded) == [pair]
    assert flup.decode_pair(encode_pairs([pair])) == (len(encoded), pair)


def test_request_without_script_name_and_document_root_is_served():
    """A load balancer's probe has next to nothing in it."""
    environ = EnvironBuilder(mount="/app").build([(b"REQUEST_METHOD", b"HEAD")])
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "")
