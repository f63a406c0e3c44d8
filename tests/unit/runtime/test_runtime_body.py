"""Streaming request bodies: the end of STDIN is the truth, CONTENT_LENGTH a claim."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.runtime.body import BodyError, StreamedBody

chunk_lists = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


class Sender:
    """Gives out batches of chunks one by one, then the end; counts how often it is asked."""

    def __init__(self, *batches, end=None):
        self.batches = [b"".join(batch) for batch in batches]
        self.end = end
        self.asked = 0

    def receive(self, target):
        self.asked += 1
        assert len(target) > 0
        if self.batches:
            batch = self.batches.pop(0)
            size = min(len(batch), len(target))
            target[:size] = batch[:size]
            if size < len(batch):
                self.batches.insert(0, batch[size:])
            return size
        if self.end is not None:
            raise self.end
        return 0


def body_of(*batches, buffered=(), declared=None, most=0, end=None, size=16):
    sender = Sender(*batches, end=end)
    return io.BufferedReader(StreamedBody(list(buffered), sender.receive, declared, most), size)


@given(
    buffered=chunk_lists,
    later=chunk_lists,
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=8),
    with_length=st.booleans(),
)
def test_reading_in_any_sizes_gives_all_bytes_in_order(buffered, later, sizes, with_length):
    """However chunks and reads are cut, the application sees the body that was sent."""
    whole = b"".join([*buffered, *later])
    body = body_of(
        *([chunk] for chunk in later),
        buffered=buffered,
        declared=len(whole) if with_length else None,
    )
    read = b""
    step = 0
    while piece := body.read(sizes[step % len(sizes)]):
        assert len(piece) <= sizes[step % len(sizes)]
        read += piece
        step += 1
    assert read == whole
    assert body.read(1) == body.read() == b""


def test_reading_everything_at_once_spans_batches():
    """`wsgi.input.read()` is what most applications do."""
    assert body_of([b"a", b"b"], [b"c"], buffered=[b"x"]).read() == b"xabc"


def test_lines_and_iteration_see_lines_across_chunks():
    """A line that arrives in pieces is one line."""
    body = body_of([b"ne\nsec"], [b"ond\nrest"], buffered=[b"li"])
    assert body.readline() == b"line\n"
    assert list(body) == [b"second\n", b"rest"]


def test_readline_honours_its_limit():
    """PEP 3333 asks for the size hint of readline."""
    body = body_of([b"abcdef\n"])
    assert (body.readline(3), body.readline(), body.readline()) == (b"abc", b"def\n", b"")


def test_readlines_and_readinto_work():
    """The rest of the file interface that frameworks use."""
    assert body_of([b"a\nb\n"]).readlines() == [b"a\n", b"b\n"]
    buffer = bytearray(4)
    assert body_of([b"ab"], [b"cdef"]).readinto(buffer) == 4
    assert buffer == b"abcd"


def test_body_is_not_received_before_it_is_read():
    """Buffered bytes are given out without waiting for the sender."""
    sender = Sender([b"later"])
    raw = StreamedBody([b"first"], sender.receive, None, 0)
    assert raw.read(5) == b"first"
    assert sender.asked == 0


def test_body_ends_at_its_declared_length():
    """What follows the declared bytes belongs to nobody."""
    body = body_of([b"cdefgh"], buffered=[b"ab"], declared=4)
    assert body.read() == b"abcd"
    assert body.read() == b""


def test_nothing_is_received_beyond_the_declared_length():
    """Waiting for a sender that has said everything would cost body_timeout."""
    sender = Sender([b"abcd"], end=AssertionError("asked for more"))
    raw = StreamedBody([], sender.receive, 4, 0)
    assert io.BufferedReader(raw, 16).read() == b"abcd"


def test_declared_nothing_is_nothing():
    """`Content-Length: 0` never waits."""
    assert body_of(end=AssertionError("asked"), declared=0).read() == b""


def test_body_shorter_than_declared_is_an_error_and_no_short_body():
    """An upload that broke off must not look whole."""
    body = body_of([b"abc"], declared=10)
    assert body.read(3) == b"abc"
    with pytest.raises(BodyError, match=r"3 of 10 bytes"):
        body.read()
    with pytest.raises(BodyError):
        body.read(1)


def test_body_that_never_began_is_an_error_where_one_was_declared():
    """No byte of ten is the shortest broken upload."""
    with pytest.raises(BodyError, match=r"0 of 10 bytes"):
        body_of(declared=10).read()


def test_body_without_a_length_ends_where_the_sender_ends():
    """Chunked uploads declare nothing."""
    assert body_of([b"abc"]).read() == b"abc"


@pytest.mark.parametrize("size", [1, 7, 100, -1])
def test_body_beyond_the_limit_is_an_error_in_whatever_pieces_it_is_read(size):
    """request_max_body holds for a body that declared no length."""
    body = body_of(*([b"x" * 10] for _ in range(5)), most=25)

    def read_all():
        while body.read(size):
            pass

    with pytest.raises(BodyError, match=r"request_max_body \(25 bytes\)"):
        read_all()


def test_body_of_exactly_the_limit_passes_and_one_byte_more_does_not():
    """The limit is the most that is allowed."""
    assert body_of([b"x" * 20], [b"x" * 5], most=25).read() == b"x" * 25
    with pytest.raises(BodyError):
        body_of([b"x" * 20], [b"x" * 6], most=25).read()


@pytest.mark.parametrize("end", [BodyError(408, "timed out"), BodyError(400, "aborted")])
def test_failure_of_the_sender_reaches_the_application(end):
    """Not as an end of file."""
    body = body_of([b"abc"], end=end)
    with pytest.raises(BodyError, match=str(end)):
        body.read()


def test_failure_is_an_oserror():
    """Frameworks treat an OSError from wsgi.input as a client that went away."""
    assert issubclass(BodyError, OSError)
