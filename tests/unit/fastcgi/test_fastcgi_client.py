"""The web server's side, and the replies it reads."""

import pytest

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import (
    Abort,
    Begin,
    ClientConnection,
    EndRequest,
    ProtocolStatus,
    Role,
    ServerConnection,
    Stderr,
    Stdin,
    Stdout,
    Unknown,
    Values,
    encode_abort,
    encode_begin,
    encode_end,
    encode_end_request,
    encode_params,
    encode_request,
    encode_response,
    encode_stderr,
    encode_stdout,
)
from pyfpm.fastcgi.records import RecordReader, frame
from pyfpm.fastcgi.replies import encode_unknown_type, encode_values_result


def test_small_response_is_three_records_in_one_write():
    """STDOUT with head and body, the empty STDOUT, END_REQUEST with status 0."""
    assert encode_response(0x0102, b"head", b"body") == (
        b"\x01\x06\x01\x02\x00\x08\x00\x00headbody"
        b"\x01\x06\x01\x02\x00\x00\x00\x00"
        b"\x01\x03\x01\x02\x00\x08\x00\x00"
        b"\x00\x00\x00\x00\x00\x00\x00\x00"
    )


@pytest.mark.parametrize("length", [0, 1, 65_524, 65_525, 65_535, 65_536, 200_000])
def test_response_of_any_size_is_read_back(length):
    """The body arrives whole, and no record overflows its length field."""
    body = b"x" * length
    encoded = encode_response(1, b"head", body)
    *pieces, end = ClientConnection().receive(encoded)
    assert b"".join(piece.data for piece in pieces) == b"head" + body
    assert end == EndRequest(1, 0, ProtocolStatus.REQUEST_COMPLETE)
    assert all(len(content) <= 65_535 for _, _, content in RecordReader().feed(encoded))


def test_response_without_any_byte_has_one_end_of_stream():
    """No data gives no data record, only the end."""
    assert encode_response(1, b"", b"") == encode_end(1)


@pytest.mark.parametrize("length", [1, 65_528, 65_529, 150_000])
def test_stdout_buffers_hold_the_data_uncopied(length):
    """The buffers of a gathered write refer to the caller's bytes."""
    data = b"x" * length
    buffers = encode_stdout(3, data)
    assert all(
        buffer is data or (isinstance(buffer, memoryview) and buffer.obj is data)
        for buffer in buffers[1::2]
    )
    pieces = ClientConnection().receive(b"".join(buffers))
    assert b"".join(piece.data for piece in pieces) == data


def test_stdout_of_nothing_is_nothing():
    """An empty STDOUT record would end the response."""
    assert encode_stdout(1, b"") == []
    assert encode_stderr(1, b"") == b""


def test_end_of_a_refused_request_is_one_record():
    """A request without a stream needs no end of stream."""
    encoded = encode_end_request(1, 7, ProtocolStatus.OVERLOADED)
    assert len(RecordReader().feed(encoded)) == 1
    assert ClientConnection().receive(encoded) == [EndRequest(1, 7, ProtocolStatus.OVERLOADED)]


def test_errors_and_output_keep_their_order():
    """STDERR and STDOUT are told apart; the ends of the streams are no events."""
    encoded = (
        encode_stderr(1, b"oops")
        + b"".join(encode_stdout(1, b"out"))
        + frame(7, 1, b"")
        + encode_end(1, 255)
    )
    assert ClientConnection().receive(encoded) == [
        Stderr(1, b"oops"),
        Stdout(1, b"out"),
        EndRequest(1, 255, 0),
    ]


def test_management_answers_are_read():
    """GET_VALUES_RESULT and UNKNOWN_TYPE have id 0."""
    encoded = encode_values_result(b"\x01\x01ab") + encode_unknown_type(99)
    assert ClientConnection().receive(encoded) == [Values([(b"a", b"b")]), Unknown(99)]


@pytest.mark.parametrize(
    "reply",
    [
        frame(5, 1, b"x"),
        frame(1, 1, b"\0" * 8),
        frame(6, 0, b"x"),
        frame(3, 1, b"\0" * 7),
        frame(11, 0, b"\0"),
        frame(99, 1, b""),
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
    ],
)
def test_what_no_application_sends_is_refused(reply):
    """HTTP on a FastCGI socket, for one, is no reply."""
    with pytest.raises(ProtocolError):
        ClientConnection().receive(reply)


def test_cut_reply_shows_in_the_buffer():
    """The caller can tell a close between records from one inside."""
    client = ClientConnection()
    assert client.receive(encode_end(1)[:-1]) == []
    assert client.buffered_bytes == 15


@pytest.mark.parametrize("length", [0, 5, 70_000, 200_000])
def test_request_is_understood_by_the_other_side(length):
    """What the client writes, the server reads."""
    body = b"x" * length
    begin, params, *pieces, _end = ServerConnection().receive(
        encode_request(5, [(b"A", b"v" * 70_000)], body, keep_conn=True)
    )
    assert begin == Begin(5, Role.RESPONDER, True)
    assert params.pairs == [(b"A", b"v" * 70_000)]
    assert b"".join(piece.data for piece in pieces if isinstance(piece, Stdin)) == body


def test_abort_is_understood_by_the_other_side():
    """ABORT_REQUEST has no content."""
    server = ServerConnection()
    server.receive(encode_begin(5) + encode_params(5, []))
    assert server.receive(encode_abort(5)) == [Abort(5)]


def test_begin_is_written_with_zero_reserved_bytes():
    """CVE-2023-0836: reserved bytes once carried another request's memory."""
    assert encode_begin(1, keep_conn=True) == (
        b"\x01\x01\x00\x01\x00\x08\x00\x00" + b"\x00\x01\x01\x00\x00\x00\x00\x00"
    )
