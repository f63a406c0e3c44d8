from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.errors import ResponseError
from pyfpm.front.cgi_head import MAX_HEAD_BYTES, HeadReader, parse_head


@pytest.mark.parametrize(
    ("head", "status_line"),
    [
        (b"Content-Type: text/plain", "200 OK"),
        (b"Status: 404 Not Found\r\nContent-Type: text/plain", "404 Not Found"),
        (b"Status: 404", "404 Not Found"),
        (b"status:  599  Odd Thing ", "599 Odd Thing"),
        (b"Status: 599", "599 Unknown"),
        (b"Location: /elsewhere", "302 Found"),
        (b"Location: /made\r\nStatus: 201 Created", "201 Created"),
    ],
)
def test_status_follows_from_status_and_location(head, status_line):
    """Status decides; Location alone is a redirect; otherwise it is 200."""
    assert parse_head(head).status_line == status_line


def test_headers_keep_order_spelling_and_repetition():
    """Everything but Status is passed on as it came."""
    head = parse_head(b"X-Odd: 1\nStatus: 200 OK\nSet-Cookie: a=1\nSet-Cookie: b=\xe9:2")
    assert head.headers == (("X-Odd", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=\xe9:2"))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK",
        b"<html>",
        b"Content Type: text/plain",
        b" Folded: yes",
        b": nothing",
        b"Status: OK",
        b"Status: 20",
        b"Status: 2000 OK",
        b"Status: 000",
        b"X: a\rb",
        b"X: a\0b",
    ],
)
def test_head_that_is_no_head_is_refused(head):
    """A head that would mean something else to the next reader is an error."""
    with pytest.raises(ResponseError):
        parse_head(head)


@given(cuts=st.sets(st.integers(1, 45)), ending=st.sampled_from([b"\r\n", b"\n"]))
def test_head_in_any_pieces_is_read_the_same(cuts, ending):
    """Where the records were cut makes no difference to the head or to where the body begins."""
    data = ending.join([b"Status: 201 Created", b"X-A: 1", b"", b"body\r\n\r\nmore"])
    reader, result, body = HeadReader(), None, b""
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in pairwise(edges):
        if result is None:
            result = reader.feed(data[start:end])
            body = reader.rest
        else:
            body += data[start:end]
    assert result is not None
    assert (result.status, result.headers, body) == (201, (("X-A", "1"),), b"body\r\n\r\nmore")


def test_endless_head_is_refused_at_the_limit():
    """A responder that never ends its head does not fill the memory."""
    reader = HeadReader()
    assert reader.feed(b"X: " + b"x" * (MAX_HEAD_BYTES - 10)) is None
    with pytest.raises(ResponseError, match="longer than"):
        reader.feed(b"x" * 100)
