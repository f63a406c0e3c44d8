"""The codec beside that of flup6 1.1.1, wherever that one is right.

What is skipped, because flup6 is wrong there (the numbers are those of `test_peer_probes`):

* A pair that the stream cuts off: flup6 returns what is there as if it were whole (5). Ours refuses
  it, which is asserted here too.
* Parameters of several PARAMS records: flup6 decodes each record by itself (5), so its
  `decode_pair` gets the joined stream.
* GET_VALUES: flup6 compares bytes with text and always answers nothing (7).
* Records of a version other than 1: flup6 reads them as if nothing were wrong. So do its padding
  bytes, of which it does not notice a missing one.
"""

import struct

import pytest
from conformance.wire import begin, params_stream
from hypothesis import example, given
from hypothesis import strategies as st

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import (
    ClientConnection,
    EndRequest,
    Params,
    ServerConnection,
    Stdin,
    StdinEnd,
    Stdout,
    decode_pairs,
    encode_pairs,
    encode_request,
    encode_response,
)
from pyfpm.fastcgi.records import RecordReader, frame

flup = pytest.importorskip("flup.server.fcgi_base")

short = st.binary(max_size=140)
pairs = st.lists(st.tuples(short, short | st.binary(min_size=120, max_size=400)), max_size=12)
borders = st.sampled_from([0, 1, 7, 8, 127, 128, 255, 256, 65527, 65528, 65535])
contents = st.binary(max_size=300) | borders.map(lambda size: b"c" * size)
kinds = st.integers(1, 11)
ids = st.sampled_from([1, 2, 255, 256, 65535])


class Wire:
    """As much of a socket as flup6's Record needs."""

    def __init__(self, data=b""):
        self.data = data

    def fileno(self):
        return -1

    def recv(self, size):
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def send(self, data):
        self.data += data
        return len(data)


def written_by_flup(kind, request_id, content):
    record = flup.Record(kind, request_id)
    record.contentData, record.contentLength = content, len(content)
    wire = Wire()
    record.write(wire)
    return wire.data


def read_by_flup(stream):
    """All records of a stream, as (type, id, content)."""
    wire, found = Wire(stream), []
    while wire.data:
        record = flup.Record()
        record.read(wire)
        found.append((record.type, record.requestId, record.contentData))
    return found


def decoded_by_flup(stream):
    """The pairs, and whether all of them were there: it does not tell by itself."""
    found, at = [], 0
    while at < len(stream):
        try:
            at, pair = flup.decode_pair(stream, at)
        except struct.error:
            return found, False
        found.append(pair)
    return found, at == len(stream)


@given(pairs)
def test_pairs_are_encoded_alike(sent):
    """Byte for byte, short and long lengths."""
    stream = encode_pairs(sent)
    assert stream == b"".join(flup.encode_pair(name, value) for name, value in sent)
    assert decoded_by_flup(stream) == (sent, True)
    assert decode_pairs(stream) == sent


@given(st.lists(st.binary(max_size=9) | st.sampled_from([b"\x80\0\0\x02", b"\0\0"])).map(b"".join))
@example(b"\x80\0\0\x01\x80\0\0\x02Aab")
@example(b"\xff\xff\xff\xff\xff\xff\xff\xffx")
def test_any_stream_is_decoded_alike_or_is_cut_off(stream):
    """The same pairs from the same bytes; and where flup6 would make them up, an error."""
    found, is_whole = decoded_by_flup(stream)
    if is_whole:
        assert decode_pairs(stream) == found
    else:
        with pytest.raises(ProtocolError):
            decode_pairs(stream)


@given(kinds, ids, contents)
def test_records_are_read_and_written_alike(kind, request_id, content):
    """Ours by flup6, and flup6's, which are padded to eight bytes, by ours."""
    theirs = written_by_flup(kind, request_id, content)
    assert RecordReader().feed(theirs) == [(kind, request_id, content)]
    assert read_by_flup(frame(kind, request_id, content)) == [(kind, request_id, content)]
    assert len(theirs) % 8 == 0


@given(ids, pairs, st.binary(max_size=400) | st.just(b"b" * 150_000))
def test_our_requests_mean_the_same_to_flup(request_id, sent, body):
    """Records of ours, and in them the pairs and the body."""
    records = read_by_flup(encode_request(request_id, sent, body))
    assert {number for _, number, _ in records} == {request_id}
    streams = {kind: [content for one, _, content in records if one == kind] for kind in (1, 4, 5)}
    assert streams[1] == [struct.pack("!HB5x", 1, 0)]
    assert streams[4][-1] == streams[5][-1] == b""
    assert decoded_by_flup(b"".join(streams[4])) == (sent, True)
    assert b"".join(streams[5]) == body


@given(pairs, st.lists(st.binary(min_size=1, max_size=300), max_size=4), st.integers(1, 700))
def test_requests_in_records_of_flup_mean_the_same_to_us(sent, body, cut):
    """Padded, cut anywhere: the same parameters and the same body."""
    plain = begin(1) + params_stream(1, sent, cut)
    stream = b"".join(written_by_flup(*record) for record in read_by_flup(plain))
    stream += b"".join(written_by_flup(5, 1, piece) for piece in [*body, b""])
    _, *events = ServerConnection().receive(stream)
    assert events == [Params(1, sent), *(Stdin(1, piece) for piece in body), StdinEnd(1)]


@given(ids, st.binary(max_size=300), st.binary(max_size=300) | st.just(b"x" * 140_000))
def test_our_answers_mean_the_same_to_flup(request_id, head, body):
    """STDOUT, its end and END_REQUEST; and the same as flup6 writes them, read by ours."""
    records = read_by_flup(encode_response(request_id, head, body))
    assert b"".join(content for kind, _, content in records if kind == 6) == head + body
    assert records[-2:] == [(6, request_id, b""), (3, request_id, bytes(8))]
    stream = b"".join(written_by_flup(*record) for record in records)
    *pieces, end = ClientConnection().receive(stream)
    assert b"".join(piece.data for piece in pieces if isinstance(piece, Stdout)) == head + body
    assert end == EndRequest(request_id, 0, 0)
