"""Properties of the whole codec: splits have no influence, and nothing crashes it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import (
    ClientConnection,
    Limits,
    ServerConnection,
    Stdin,
    encode_abort,
    encode_begin,
    encode_get_values,
    encode_pairs,
    encode_stdin,
)
from pyfpm.fastcgi.records import HEADER, PARAMS, frame

names = st.binary(min_size=1, max_size=200)
pairs = st.lists(st.tuples(names, st.binary(max_size=400)), max_size=12)


def padded(kind, request_id, content, padding):
    return HEADER.pack(1, kind, request_id, len(content), padding) + content + b"\xaa" * padding


@st.composite
def requests(draw):
    """A valid request whose streams are cut into records anywhere, with any padding."""
    stream = encode_pairs(draw(pairs))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    parts = [encode_begin(3, keep_conn=draw(st.booleans()))]
    padding = st.integers(0, 255)
    parts += [padded(PARAMS, 3, piece, draw(padding)) for piece in pieces if piece]
    parts.append(frame(PARAMS, 3, b""))
    parts += [encode_stdin(3, data) for data in draw(st.lists(st.binary(min_size=1), max_size=4))]
    parts.append(draw(st.sampled_from([encode_stdin(3, b""), encode_abort(3)])))
    extra = draw(
        st.sampled_from([b"", encode_get_values([b"FCGI_MPXS_CONNS"]), frame(99, 0, b"?")])
    )
    parts.insert(draw(st.integers(0, len(parts))), extra)
    return b"".join(parts)


@given(requests(), st.data())
def test_any_split_of_a_valid_stream_gives_the_same_events(stream, data):
    """Where the reads end has no influence on the events."""
    whole = ServerConnection().receive(stream)
    connection = ServerConnection()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    events = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += connection.receive(stream[start:stop])
    assert events == whole


@given(requests())
@settings(max_examples=25)
def test_bytes_one_by_one_give_the_same_events(stream):
    """The worst split of all."""
    connection = ServerConnection()
    events = [event for i in range(len(stream)) for event in connection.receive(stream[i : i + 1])]
    assert events == ServerConnection().receive(stream)


LIMITS = Limits(max_params_bytes=300, max_params_count=10, max_name_bytes=127)

odd_records = st.builds(
    padded,
    st.integers(0, 12),
    st.integers(0, 2),
    st.one_of(st.binary(max_size=80), st.just(b"\x00\x01\x01\x00\x00\x00\x00\x00")),
    st.integers(0, 8),
)


@given(st.lists(st.one_of(odd_records, requests(), st.binary(max_size=20)), max_size=8))
def test_any_bytes_raise_nothing_but_protocol_errors(parts):
    """Junk ends a connection, never a worker, and never holds more than its limits allow."""
    connection = ServerConnection(LIMITS)
    for part in parts:
        try:
            events = connection.receive(part)
        except ProtocolError:
            return
        assert all(event.data for event in events if isinstance(event, Stdin))
        assert connection.buffered_bytes <= LIMITS.max_params_bytes + 8 + 65_535 + 255


@given(st.lists(st.one_of(odd_records, st.binary(max_size=20)), max_size=8))
def test_any_reply_raises_nothing_but_protocol_errors(parts):
    """A broken application is not a broken client."""
    client = ClientConnection()
    for part in parts:
        try:
            client.receive(part)
        except ProtocolError:
            return
