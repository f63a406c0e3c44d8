"""The short way for a request that arrives in one piece says what the long way says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import (
    Begin,
    Limits,
    Params,
    Role,
    ServerConnection,
    Stdin,
    StdinEnd,
    decode_pairs,
    encode_abort,
    encode_begin,
    encode_pairs,
    encode_params,
    encode_request,
    encode_stdin,
)
from pyfpm.fastcgi.records import PARAMS, STDIN, frame

PAIRS = [(b"REQUEST_METHOD", b"POST"), (b"QUERY_STRING", b"")]
STREAM = encode_pairs(PAIRS)
KEPT = encode_request(1, PAIRS, keep_conn=True)


def padded(kind, content, padding):
    header = bytes((1, kind, 0, 1)) + len(content).to_bytes(2) + bytes((padding, 0))
    return header + content + b"\xaa" * padding


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("body", [b"", b"a=1", b"\0" * 65_528])
@pytest.mark.parametrize("padding", [0, 1, 255])
def test_a_request_in_one_piece_is_taken_whole(keep, body, padding):
    """As nginx sends it, with padding after PARAMS and after the body."""
    data = encode_begin(1, keep_conn=keep) + padded(PARAMS, STREAM, padding) + frame(PARAMS, 1, b"")
    data += (padded(STDIN, body, padding) if body else b"") + encode_stdin(1, b"")
    assert ServerConnection().receive_whole(data) == (keep, STREAM, body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        KEPT[:-1],
        KEPT + b"\x01",
        KEPT + encode_abort(1),
        KEPT + KEPT,
        encode_abort(1) + KEPT,
        encode_request(2, PAIRS),
        encode_request(1, PAIRS, role=Role.AUTHORIZER),
        encode_request(1, PAIRS, role=Role.FILTER),
        encode_request(1, []),
        encode_request(1, PAIRS, b"x" * 70_000),
        encode_begin(1) + frame(PARAMS, 1, STREAM[:5]) + frame(PARAMS, 1, STREAM[5:])
        + frame(PARAMS, 1, b"") + encode_stdin(1, b""),
        encode_begin(1) + encode_params(1, PAIRS) + encode_abort(1) + encode_stdin(1, b""),
        encode_begin(1) + encode_params(1, PAIRS) + encode_stdin(1, b"x"),
        encode_begin(1) + encode_params(1, PAIRS) + encode_stdin(2, b"x") + encode_stdin(1, b""),
        b"\x02" + KEPT[1:],
        KEPT[:-1] + b"\x01",
    ],
)  # fmt: skip
def test_whatever_differs_is_left_to_the_long_way(data):
    """Pieces, more than one, other ids, roles and records, reserved bits: nothing changes here."""
    connection = ServerConnection()
    assert connection.receive_whole(data) is None
    assert connection.is_quiet()
    assert connection.buffered_bytes == 0


def test_parameters_beyond_the_limit_are_left_to_the_long_way():
    """It says what is wrong with them."""
    connection = ServerConnection(Limits(max_params_bytes=len(STREAM) - 1))
    assert connection.receive_whole(KEPT) is None
    with pytest.raises(ProtocolError, match="limit"):
        connection.receive(KEPT)


def test_a_connection_that_serves_no_responders_is_left_to_the_long_way():
    """It refuses the role."""
    connection = ServerConnection(roles={Role.AUTHORIZER})
    assert connection.receive_whole(KEPT) is None


def test_nothing_is_taken_whole_while_a_request_is_active_or_half_a_record_waits():
    """The bytes may be the content of something that began before."""
    connection = ServerConnection()
    connection.receive(encode_begin(1, keep_conn=True))
    assert connection.receive_whole(KEPT) is None
    connection = ServerConnection()
    connection.receive(KEPT[:5])
    assert connection.receive_whole(KEPT) is None


def test_a_request_taken_whole_is_active_until_it_is_ended():
    """Late records of it are ignored, a second BEGIN is a violation."""
    connection = ServerConnection()
    assert connection.receive_whole(KEPT)
    assert not connection.is_quiet()
    with pytest.raises(ProtocolError, match="active already"):
        connection.receive(KEPT)
    connection.request_ended()
    assert connection.is_quiet()
    assert connection.receive(encode_stdin(1, b"late")) == []
    assert connection.receive_whole(KEPT)


@st.composite
def nearly_whole(draw):
    """A whole request with a few bytes changed, put in or left out."""
    pairs = draw(st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=200)), max_size=4))
    data = bytearray(
        encode_request(
            draw(st.sampled_from((1, 1, 1, 2, 256))),
            pairs,
            draw(st.binary(max_size=40)),
            keep_conn=draw(st.booleans()),
        )
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data) - 1))
        end = at + draw(st.integers(0, 2))
        data[at:end] = draw(st.binary(max_size=2))
        if not data:
            break
    return bytes(data)


@given(nearly_whole())
def test_both_ways_agree_about_any_bytes(data):
    """What is taken whole gives the same events the long way; what is not changes nothing."""
    connection = ServerConnection()
    whole = connection.receive_whole(data)
    if whole is None:
        assert connection.is_quiet()
        return
    keep, stream, body = whole
    try:
        pairs = decode_pairs(stream)
    except ProtocolError as error:
        with pytest.raises(ProtocolError, match=f"^{error}$"):
            ServerConnection().receive(data)
        return
    events = [Begin(1, Role.RESPONDER, keep), Params(1, pairs)]
    events += [Stdin(1, body)] if body else []
    assert ServerConnection().receive(data) == [*events, StdinEnd(1)]
