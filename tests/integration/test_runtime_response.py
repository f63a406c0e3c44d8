"""A WSGI application's response on the wire: whole bodies, streams, and heads alone."""

import io
import socket
import threading

import pytest
from harness.wsgi_exchange import PLAIN, Sent, answering, exchange, noise, streaming

from pyfpm.runtime.response import Response
from pyfpm.runtime.wsgi import run_application


def test_list_of_one_leaves_with_a_length():
    """The commonest response: head, Content-Length added, body, one END_REQUEST."""
    sent = exchange(answering(b"hello"))
    assert (sent.status, sent.body, sent.complete) == ("200 OK", b"hello", True)
    assert sent.header("Content-Length") == "5"
    assert sent.header("Content-Type") == "text/plain"


def test_small_response_is_one_write():
    """STDOUT, empty STDOUT and END_REQUEST arrive in one piece."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    run_application(
        answering(b"hello"), {"wsgi.errors": io.StringIO()}, Response(ours.fileno(), 1, "GET", 1)
    )
    assert Sent(theirs.recv(65536)).complete
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("chunks", "body"), [((), b""), ((b"",), b""), ((b"a", b"", b"bc"), b"abc")]
)
def test_lists_are_joined_and_measured(chunks, body):
    """An empty iterable is a complete response without body."""
    sent = exchange(answering(*chunks))
    assert (sent.body, sent.complete) == (body, True)
    assert sent.header("Content-Length") == str(len(body))


LONG_SIZES = [
    64_900, 65_000, 65_528, 65_535, 65_536, 200_000, 262_144, 262_145, 524_224, 524_225, 5_000_000
]  # fmt: skip


@pytest.mark.parametrize("size", LONG_SIZES)
@pytest.mark.parametrize("form", [answering, streaming])
def test_long_bodies_arrive_whole_in_records_below_the_limit(form, size):
    """Around the sizes where one write becomes several and one record two."""
    body = noise(size)
    sent = exchange(form(body))
    assert (sent.body == body, sent.complete) == (True, True)
    assert max(map(len, sent.records)) < 65_536
    length = None if form is streaming else str(size)
    assert sent.header("Content-Length") == length


@pytest.mark.parametrize(
    "sizes",
    [[300_000] * 3, [1000] * 700, [10, 600_000, 10, 0, 10], [262_144, 1], [0, 262_145], [7] * 2],
    ids=str,
)
def test_long_lists_arrive_whole_with_their_length(sizes):
    """They are not joined, and are one body with a Content-Length all the same."""
    chunks = [noise(size) for size in sizes]
    sent = exchange(answering(*chunks))
    assert (sent.body == b"".join(chunks), sent.complete) == (True, True)
    assert sent.header("Content-Length") == str(sum(sizes))


def test_long_list_with_something_else_in_it_is_a_clean_500():
    """Although what comes before could have been sent already."""
    sent = exchange(answering(noise(400_000), "text"))
    assert (sent.status, sent.complete) == ("500 Internal Server Error", True)
    assert "must be bytes, not str" in sent.errors


def test_long_list_shorter_than_declared_is_a_clean_500():
    """As with a short one, nothing of it has left."""
    sent = exchange(answering(*[noise(300_000)] * 2, headers=[("Content-Length", "600001")]))
    assert (sent.status, sent.complete) == ("500 Internal Server Error", True)
    assert "1 byte shorter" in sent.errors


def test_long_list_longer_than_declared_is_cut_and_complained_about():
    """Nothing is sent beyond the declared length."""
    chunks = [noise(300_000)] * 2
    sent = exchange(answering(*chunks, headers=[("Content-Length", "400000")]))
    assert (sent.body == b"".join(chunks)[:400_000], sent.complete) == (True, True)
    assert "sent 200000 bytes more than its Content-Length" in sent.errors


def test_long_list_is_not_sent_for_a_head_request():
    """Nor is a length declared that the application has not declared."""
    sent = exchange(answering(*[noise(300_000)] * 2), method="HEAD")
    assert (sent.body, sent.complete, sent.header("Content-Length")) == (b"", True, None)


def test_long_list_after_write_ends_the_same_body():
    """The head has left: no length can be declared any more."""

    def application(environ, start_response):
        start_response("200 OK", PLAIN)(b"first")
        return [b"a" * 300_000, b"b" * 300_000]

    sent = exchange(application)
    assert sent.body == b"first" + b"a" * 300_000 + b"b" * 300_000
    assert (sent.complete, sent.header("Content-Length")) == (True, None)


@pytest.mark.parametrize("form", [answering, streaming])
def test_long_body_for_a_peer_that_leaves_is_not_completed(form):
    """It went away between two groups of records."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    response = Response(ours.fileno(), 1, "GET", 5)
    reader = threading.Thread(
        target=lambda: (theirs.recv(400_000, socket.MSG_WAITALL), theirs.close())
    )
    reader.start()
    run_application(form(noise(5_000_000)), {"wsgi.errors": io.StringIO()}, response)
    reader.join(10)
    ours.close()
    assert (response.begun, response.ended, response.peer_left) == (True, False, True)


def test_generator_streams_each_chunk_as_it_comes():
    """The head leaves with the first chunk that is not empty, and no length is invented."""
    ours, theirs = socket.socketpair()
    seen = []

    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        theirs.setblocking(False)
        yield b""
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        yield b"first"
        seen.append(theirs.recv(65536))
        yield b"second"
        seen.append(theirs.recv(65536))

    response = Response(ours.fileno(), 1, "GET", 1)
    errors = io.StringIO()
    run_application(application, {"wsgi.errors": errors}, response)
    ours.close()
    assert errors.getvalue() == ""
    first = Sent(seen[0])
    assert (first.body, first.header("Content-Length")) == (b"first", None)
    theirs.setblocking(True)
    rest = theirs.recv(65536)
    theirs.close()
    assert Sent(b"".join([*seen, rest])).body == b"firstsecond"
    assert response.ended


def test_generator_without_chunks_is_a_complete_empty_response():
    """A generator that yields nothing still calls start_response when it is first asked."""
    sent = exchange(streaming())
    assert (sent.status, sent.body, sent.complete) == ("200 OK", b"", True)


def test_write_callable_and_returned_body_follow_each_other():
    """PEP 3333's write() comes before what the application returns."""

    def application(environ, start_response):
        write = start_response("200 OK", PLAIN)
        write(b"one ")
        write(b"")
        write(b"two ")
        return [b"three"]

    sent = exchange(application)
    assert (sent.body, sent.complete) == (b"one two three", True)


def test_declared_length_that_is_met_passes_for_streams():
    """The application's own Content-Length is sent as it is."""
    sent = exchange(streaming(b"ab", b"cd", headers=[("Content-Length", "4")]))
    assert (sent.body, sent.complete, sent.header("Content-Length")) == (b"abcd", True, "4")


@pytest.mark.parametrize("form", [answering, streaming])
def test_body_longer_than_declared_is_cut_there(form):
    """What follows would be read as the next response by a web server that trusts the length."""
    sent = exchange(form(b"abc", b"defgh", headers=[("Content-Length", "4")]))
    assert (sent.body, sent.complete) == (b"abcd", True)


# -- responses without a body -------------------------------------------------------------------


@pytest.mark.parametrize("form", [answering, streaming])
@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")],
)
def test_head_204_and_304_have_no_body(form, method, status):
    """Whatever the application produces, these have a head alone."""
    sent = exchange(form(b"body", b"more", status=status), method=method)
    assert (sent.status, sent.body, sent.complete) == (status, b"", True)


def test_head_keeps_the_length_that_the_application_declared():
    """A HEAD answer describes what GET would send."""
    sent = exchange(answering(b"x" * 9, headers=[("Content-Length", "9")]), method="HEAD")
    assert (sent.header("Content-Length"), sent.body, sent.complete) == ("9", b"", True)
    sent = exchange(answering(headers=[("Content-Length", "9")]), method="HEAD")
    assert (sent.header("Content-Length"), sent.complete) == ("9", True)


def test_no_length_is_invented_where_there_is_no_body():
    """`Content-Length: 0` on a 304 would describe another entity."""
    assert exchange(answering(status="304 Not Modified")).header("Content-Length") is None
    assert exchange(answering(b"x"), method="HEAD").header("Content-Length") is None


def test_head_does_not_run_a_stream_to_its_end():
    """An endless stream asked for by HEAD must not keep the worker."""
    produced = iter(range(100_000))

    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        return (b"%d" % number for number in produced)

    assert exchange(application, method="HEAD").complete
    assert next(produced) < 10


def test_failure_of_a_head_request_has_no_body():
    """The 500 page is for GET."""

    def application(environ, start_response):
        raise ValueError

    sent = exchange(application, method="HEAD")
    assert (sent.status, sent.body) == ("500 Internal Server Error", b"")
    assert int(sent.header("Content-Length")) > 0
