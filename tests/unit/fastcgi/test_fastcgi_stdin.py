"""Long bodies: content is taken out of the stream, and everything else reaches the codec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import (
    Abort,
    Begin,
    Send,
    ServerConnection,
    Stdin,
    StdinEnd,
    StdinReader,
    encode_begin,
    encode_params,
    encode_request,
)
from pyfpm.fastcgi.records import ABORT_REQUEST, GET_VALUES, HEADER, STDIN

OPENING = encode_begin(1) + encode_params(1, [(b"A", b"B")])
END = HEADER.pack(1, STDIN, 1, 0, 0)


def record(kind, request_id, content, padding=0):
    header = HEADER.pack(1, kind, request_id, len(content), padding)
    return header + content + b"\xff" * padding


content_records = st.builds(
    record, st.just(STDIN), st.just(1), st.binary(min_size=1, max_size=60), st.integers(0, 255)
)
other_records = st.one_of(
    st.builds(
        record, st.just(STDIN), st.integers(2, 300), st.binary(max_size=60), st.integers(0, 255)
    ),
    st.builds(record, st.just(GET_VALUES), st.just(0), st.just(b""), st.integers(0, 255)),
    st.builds(record, st.integers(12, 255), st.just(0), st.binary(max_size=60), st.integers(0, 9)),
)
streams = st.lists(st.one_of(content_records, other_records), max_size=12).map(b"".join)
sizes = st.lists(st.integers(1, 100), min_size=1, max_size=6)


class Receiver:
    """A codec with a reader before it; `stream` arrives in pieces of the sizes given."""

    def __init__(self, stream, pieces, unfinished=0):
        self.codec = ServerConnection()
        self.codec.receive(OPENING + stream[:unfinished])
        self.reader = StdinReader(1, self.codec.take_unfinished())
        self.stream = stream[unfinished:]
        self.pieces = pieces
        self.arrived = 0
        self.events = []

    def arrive(self):
        size = self.pieces[self.arrived % len(self.pieces)]
        piece, self.stream = self.stream[:size], self.stream[size:]
        self.arrived += 1
        room = self.reader.room()
        room[: len(piece)] = piece
        self.reader.received(len(piece))
        return len(piece)

    def read(self, size):
        """Up to `size` bytes of the body; empty at its end, or where no more arrives."""
        target = bytearray(size)
        while not any(isinstance(event, StdinEnd) for event in self.events):
            if taken := self.reader.take(memoryview(target)):
                return bytes(target[:taken])
            if taken := self.reader.take_record():
                self.events += self.codec.receive(taken)
            elif not self.arrive():
                break
        return b""

    def read_all(self, steps):
        body = b""
        while piece := self.read(steps[len(body) % len(steps)]):
            body += piece
        return body


def seen_by_a_codec_alone(stream):
    events = ServerConnection().receive(OPENING + stream)[2:]
    body = b"".join(event.data for event in events if isinstance(event, Stdin))
    return body, [event for event in events if not isinstance(event, Stdin)]


@given(stream=streams, pieces=sizes, steps=sizes)
def test_reader_and_codec_together_see_what_the_codec_alone_would(stream, pieces, steps):
    """However the stream and the reads are cut."""
    receiver = Receiver(stream + END, pieces)
    body = receiver.read_all(steps)
    assert (body, receiver.events) == seen_by_a_codec_alone(stream + END)


@given(content=st.binary(min_size=1, max_size=60), padding=st.integers(0, 255), data=st.data())
def test_record_that_has_arrived_in_part_goes_on(content, padding, data):
    """The codec holds the beginning of a record when the application starts to read."""
    stream = record(STDIN, 1, content, padding)
    unfinished = data.draw(st.integers(0, len(stream) - 1))
    receiver = Receiver(stream + END, [7], unfinished)
    assert receiver.codec.buffered_bytes == 0
    assert receiver.read_all([100]) == content


@given(stream=streams, pieces=sizes, reads=st.integers(0, 6), data=st.data())
def test_what_is_not_read_leaves_the_codec_in_step(stream, pieces, reads, data):
    """Wherever reading stops, the next request on the connection is understood."""
    receiver = Receiver(stream + END, pieces)
    for _ in range(reads):
        receiver.read(data.draw(st.integers(1, 40)))
    receiver.codec.receive(receiver.reader.take_rest())
    receiver.codec.request_ended()
    following = encode_request(1, [(b"C", b"D")], b"next")
    events = receiver.codec.receive(receiver.stream + following)
    assert sum(isinstance(event, Begin) for event in events) == 1
    assert [event.data for event in events if isinstance(event, Stdin)] == [b"next"]
    assert receiver.codec.buffered_bytes == 0


@pytest.mark.parametrize("length", [1, 65_528, 65_535])
def test_the_longest_records_have_room(length):
    """Content and padding at their most, of this request and of another one."""
    stream = record(STDIN, 2, b"x" * length, 255) + record(STDIN, 1, b"y" * length, 255) + END
    receiver = Receiver(stream, [50_000])
    assert receiver.read_all([70_000]) == b"y" * length


def test_content_is_given_before_its_record_is_complete():
    """A body that comes slowly is not held back."""
    receiver = Receiver(record(STDIN, 1, b"abcdef")[:-2], [100])
    assert receiver.read(100) == b"abcd"


def test_something_that_is_no_record_is_for_the_codec_to_refuse():
    """A stream that is out of step must not become a body."""
    receiver = Receiver(b"HTTP/1.1 200 OK\r\n", [100])
    with pytest.raises(ProtocolError, match="version 72"):
        receiver.read(100)


def test_abort_reaches_the_codec():
    """And so does what the codec has to answer."""
    stream = record(STDIN, 1, b"abc") + record(GET_VALUES, 0, b"") + record(ABORT_REQUEST, 1, b"")
    receiver = Receiver(stream, [5])
    assert receiver.read_all([10]) == b"abc"
    assert [type(event) for event in receiver.events] == [Send, Abort]
