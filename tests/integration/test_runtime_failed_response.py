"""A WSGI application that fails: a clean 500, a response that is never completed, and close()."""

import io
import socket

import pytest
from harness.wsgi_exchange import PLAIN, Sent, answering, exchange, streaming

from pyfpm.runtime.response import Response
from pyfpm.runtime.wsgi import run_application

# -- failures before the first byte -------------------------------------------------------------


def call_without_starting(environ, start_response):
    return [b"x"]


def start_twice(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("200 OK", PLAIN)
    return [b"x"]


def write_text(environ, start_response):
    start_response("200 OK", PLAIN)("text")
    return []


def end_interpreter(environ, start_response):
    raise SystemExit(3)


def start_with_garbage(environ, start_response):
    start_response("200 OK", [("X", "a\r\nSet-Cookie: b")])
    return [b"x"]


class BareFailure(BaseException):
    """What no `except Exception` catches."""


def fail_barely(environ, start_response):
    raise BareFailure


@pytest.mark.parametrize(
    ("application", "said"),
    [
        (lambda environ, start_response: 1 / 0, "ZeroDivisionError"),
        (lambda environ: [b"x"], "TypeError"),
        (lambda environ, start_response: None, "TypeError"),
        (call_without_starting, "without calling start_response"),
        (start_twice, "twice"),
        (start_with_garbage, "control character"),
        (write_text, "must be bytes, not str"),
        (end_interpreter, "SystemExit: 3"),
        (fail_barely, "BareFailure"),
        (answering("text"), "must be bytes, not str"),
        (answering(b"bytes", "text"), "str"),
        (answering(bytearray(b"x")), "must be bytes, not bytearray"),
        (streaming("text"), "must be bytes, not str"),
        (streaming(end=ValueError("early")), "ValueError: early"),
        (streaming(b"", end=ValueError("early")), "ValueError: early"),
        (answering(b"abc", headers=[("Content-Length", "10")]), "7 bytes shorter"),
        (answering(headers=[("Content-Length", "10")]), "10 bytes shorter"),
        (answering(b"x", status="OK"), "three digits"),
        (answering(b"x", headers=[("Content-Length", "x")]), "not a length"),
        (answering(b"x", headers=[("Transfer-Encoding", "chunked")]), "hop-by-hop"),
    ],
)
def test_failure_before_the_first_byte_is_a_clean_500(application, said):
    """Nothing of the failed response is sent, a whole error page is, and the log says why."""
    sent = exchange(application)
    assert (sent.status, sent.complete) == ("500 Internal Server Error", True)
    assert sent.body == b"Internal Server Error\n"
    assert sent.response.status == 500
    assert said in sent.errors
    assert sent.errors.startswith("'GET /x' raised an exception\nTraceback")


@pytest.mark.parametrize("result", [b"bytes", "text"])
def test_string_returned_instead_of_an_iterable_is_a_500(result):
    """A bare string iterates as single characters; that is a mistake, not a slow response."""

    def application(environ, start_response):
        start_response("200 OK", PLAIN)
        return result

    sent = exchange(application)
    assert (sent.status, sent.complete) == ("500 Internal Server Error", True)


def test_application_that_returns_none_after_starting_is_a_500():
    """A forgotten return."""

    def application(environ, start_response):
        start_response("200 OK", PLAIN)

    assert exchange(application).status == "500 Internal Server Error"


def test_exc_info_before_the_first_byte_replaces_the_response():
    """PEP 3333: an error page instead of what was started."""

    def application(environ, start_response):
        start_response("200 OK", [("X-Old", "1")])
        try:
            raise ValueError("late")  # noqa: TRY301 - as an application does it
        except ValueError as error:
            exc_info = (type(error), error, error.__traceback__)
            start_response("503 Service Unavailable", PLAIN, exc_info)
        return [b"sorry"]

    sent = exchange(application)
    assert (sent.status, sent.body, sent.complete) == ("503 Service Unavailable", b"sorry", True)
    assert sent.header("X-Old") is None


def test_request_line_in_the_log_cannot_forge_lines():
    """The URI comes from the client."""
    errors = io.StringIO()
    environ = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/a\nALERT: b\x1b[2J", "wsgi.errors": errors}
    ours, theirs = socket.socketpair()
    run_application(end_interpreter, environ, Response(ours.fileno(), 1, "GET", 1))
    ours.close()
    theirs.close()
    assert errors.getvalue().splitlines()[0].startswith("'GET /a\\nALERT: b\\x1b[2J'")


# -- failures after the first byte --------------------------------------------------------------


def reraise_exc_info(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(b"begun")
    try:
        raise ValueError("too late")  # noqa: TRY301 - as an application does it
    except ValueError as error:
        start_response("500 Oops", PLAIN, (type(error), error, error.__traceback__))
    return [b"never"]


@pytest.mark.parametrize(
    ("application", "said"),
    [
        (streaming(b"begun", end=ValueError("late")), "ValueError: late"),
        (streaming(b"begun", end=SystemExit("late")), "SystemExit: late"),
        (streaming(b"begun", end=BareFailure("late")), "BareFailure"),
        (streaming(b"begun", "text"), "must be bytes"),
        (streaming(b"begun", headers=[("Content-Length", "10")]), "5 bytes shorter"),
        (reraise_exc_info, "ValueError: too late"),
    ],
)
def test_failure_after_the_first_byte_is_never_completed(application, said):
    """No second head, no empty STDOUT, no END_REQUEST: the web server must see a broken reply."""
    sent = exchange(application)
    assert (sent.status, sent.body) == ("200 OK", b"begun")
    assert (sent.complete, sent.response.begun, sent.response.ended) == (False, True, False)
    assert b"" not in sent.records
    assert said in sent.errors


# -- close() ------------------------------------------------------------------------------------


class Body:
    """An iterable with a close method that counts its calls."""

    def __init__(self, *chunks, end=None, close_error=None):
        self.chunks, self.end, self.close_error = chunks, end, close_error
        self.closed = 0

    def __iter__(self):
        yield from self.chunks
        if self.end is not None:
            raise self.end

    def close(self):
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error

    def application(self, environ, start_response):
        start_response("200 OK", PLAIN)
        return self


@pytest.mark.parametrize(
    "body",
    [
        Body(b"a", b"b"),
        Body(),
        Body(b"a", end=ValueError()),
        Body(end=ValueError()),
        Body(b"a", end=SystemExit()),
        Body("text"),
        Body(b"a", close_error=ValueError("in close")),
    ],
    ids=["whole", "empty", "late", "early", "exit", "text", "failing"],
)
def test_close_is_called_exactly_once(body):
    """PEP 3333: however the response ended."""
    body.closed = 0
    exchange(body.application)
    assert body.closed == 1


def test_close_is_called_for_a_head_request_and_after_a_lost_peer():
    """Files and database cursors hang on it."""
    body = Body(b"x")
    exchange(body.application, method="HEAD")
    assert body.closed == 1
    body = Body(*[b"x" * 100_000] * 50)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    response = Response(ours.fileno(), 1, "GET", 1)
    run_application(body.application, {"wsgi.errors": io.StringIO()}, response)
    ours.close()
    assert (body.closed, response.ended) == (1, False)


def test_failing_close_after_a_whole_response_is_logged_and_changes_nothing():
    """The client has its answer already."""
    sent = exchange(Body(b"a", close_error=ValueError("in close")).application)
    assert (sent.body, sent.complete) == (b"a", True)
    assert "ValueError: in close" in sent.errors


def test_broken_error_stream_does_not_cost_the_worker():
    """An application that closed wsgi.errors still gets its 500."""
    errors = io.StringIO()
    errors.close()
    ours, theirs = socket.socketpair()
    response = Response(ours.fileno(), 1, "GET", 1)
    run_application(end_interpreter, {"wsgi.errors": errors}, response)
    ours.close()
    assert Sent(theirs.recv(65536)).status == "500 Internal Server Error"
    theirs.close()
