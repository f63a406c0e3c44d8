"""A WSGI application's response on the wire: what is sent, and what is never completed."""

import contextlib
import fcntl
import gzip
import io
import os
import socket
import threading
import time

import pytest

from pyfpm.errors import ResponseError
from pyfpm.fastcgi import ClientConnection, EndRequest, Stdout
from pyfpm.runtime.file_wrapper import FileWrapper
from pyfpm.runtime.peer import PeerGoneError, read_into, send_file, write_all, write_parts
from pyfpm.runtime.response import Response
from pyfpm.runtime.wsgi import run_application

PLAIN = [("Content-Type", "text/plain")]


class Sent:
    """What the web server received: head, body, END_REQUEST or not, and then the end."""

    def __init__(self, raw):
        events = ClientConnection().receive(raw)
        data = b"".join(event.data for event in events if isinstance(event, Stdout))
        self.records = [event.data for event in events if isinstance(event, Stdout)]
        self.ends = sum(isinstance(event, EndRequest) for event in events)
        self.complete = bool(events) and isinstance(events[-1], EndRequest)
        head, self.separator, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = lines[0].removeprefix("Status: ")
        self.headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
        assert self.ends == self.complete

    def header(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, values
        return values[0] if values else None


class Exchanged(Sent):
    def __init__(self, raw, response, errors):
        super().__init__(raw)
        assert self.complete == response.ended
        self.response = response
        self.errors = errors


def exchange(application, method="GET", timeout_s=5.0):
    """Run one request and read what arrives until the connection closes."""
    ours, theirs = socket.socketpair()
    received = []

    def read():
        while data := theirs.recv(65536):
            received.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    ours.setblocking(False)
    errors = io.StringIO()
    environ = {"REQUEST_METHOD": method, "REQUEST_URI": "/x", "wsgi.errors": errors}
    response = Response(ours.fileno(), 1, method, timeout_s)
    try:
        run_application(application, environ, response)
    finally:
        ours.close()
        reader.join(10)
        theirs.close()
    return Exchanged(b"".join(received), response, errors.getvalue())


def answering(*chunks, status="200 OK", headers=()):
    """Make an application that returns these chunks as a list."""

    def application(environ, start_response):
        start_response(status, [*PLAIN, *headers])
        return list(chunks)

    return application


def streaming(*chunks, status="200 OK", headers=(), end=None):
    """Make an application that yields these chunks, then raises `end` if there is one."""

    def application(environ, start_response):
        start_response(status, [*PLAIN, *headers])
        yield from chunks
        if end is not None:
            raise end

    return application


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


# -- whole responses ----------------------------------------------------------------------------


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


def noise(size):
    """So many bytes that are not the same anywhere near each other."""
    return os.urandom(1009) * (size // 1009) + b"x" * (size % 1009)


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


# -- wsgi.file_wrapper --------------------------------------------------------------------------


class CountingFile(io.BytesIO):
    closes = 0

    def close(self):
        self.closes += 1
        super().close()


def sending(file, *, headers=()):
    def application(environ, start_response):
        start_response("200 OK", [*PLAIN, *headers])
        return FileWrapper(file, 10)

    return application


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_wrapped_file_is_sent_whole_and_closed_once(size):
    """The block size of the application is a suggestion."""
    file = CountingFile(b"f" * size)
    sent = exchange(sending(file))
    assert (len(sent.body), sent.complete, file.closes) == (size, True, 1)


def test_wrapped_file_is_sent_from_where_it_stands_and_up_to_the_declared_length():
    """A range response seeks first and declares the length of the part."""
    file = CountingFile(b"0123456789")
    file.seek(2)
    sent = exchange(sending(file, headers=[("Content-Length", "3")]))
    assert (sent.body, sent.complete) == (b"234", True)


FILE_SIZES = [
    0, 1, 61_440, 188_415, 188_416, 188_417, 188_416 + 61_440, 188_416 + 61_441, 188_416 + 122_881,
    3_000_000,
]  # fmt: skip


def open_plainly(path):
    return path.open("rb")


def open_unbuffered(path):
    return path.open("rb", buffering=0)


def open_for_update(path):
    return path.open("r+b")


@pytest.mark.parametrize("size", FILE_SIZES)
@pytest.mark.parametrize("opened", [open_plainly, open_unbuffered, open_for_update])
def test_wrapped_real_file_arrives_whole(tmp_path, opened, size):
    """Around the sizes where the kernel sends a part by itself."""
    path = tmp_path / "file"
    path.write_bytes(noise(size))
    with opened(path) as file:
        sent = exchange(sending(file))
    assert (sent.body == path.read_bytes(), sent.complete) == (True, True)
    assert sent.header("Content-Length") == (None if size else "0")
    assert file.closed


@pytest.mark.parametrize("declared", [0, 1, 188_416, 188_416 + 61_440, 400_000, 2_999_000])
def test_part_of_a_wrapped_real_file_is_sent_from_where_it_stands(tmp_path, declared):
    """With a Content-Length, and END_REQUEST in the write of its last byte."""
    path = tmp_path / "file"
    path.write_bytes(noise(3_000_000))
    with path.open("rb") as file:
        file.read(1000)
        sent = exchange(sending(file, headers=[("Content-Length", str(declared))]))
    assert sent.body == path.read_bytes()[1000 : 1000 + declared]
    assert (sent.complete, sent.errors) == (True, "")


def test_wrapped_real_file_is_not_sent_for_a_head_request(tmp_path):
    """HEAD asks for the head."""
    path = tmp_path / "file"
    path.write_bytes(noise(1_000_000))
    sent = exchange(sending(path.open("rb")), method="HEAD")
    assert (sent.body, sent.complete) == (b"", True)


def test_wrapped_real_file_shorter_than_declared_is_not_completed(tmp_path):
    """The client must see that something is missing."""
    path = tmp_path / "file"
    path.write_bytes(noise(1_000_000))
    sent = exchange(sending(path.open("rb"), headers=[("Content-Length", "1000001")]))
    assert (len(sent.body), sent.complete) == (1_000_000, False)
    assert "1 byte shorter than its Content-Length" in sent.errors


class LimitedFile(io.FileIO):
    """Gives a part of a file by read() alone, as applications do it for ranges."""

    def read(self, size=-1):
        return super().read(min(size, max(0, 500_000 - self.tell())))


def test_wrapped_files_that_are_not_what_their_descriptor_says_are_read(tmp_path):
    """A part of a file, a compressed one, and one without a descriptor."""
    body = noise(1_000_000)
    path = tmp_path / "file"
    path.write_bytes(body)
    assert exchange(sending(LimitedFile(path))).body == body[:500_000]
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(body, 1))
    assert exchange(sending(gzip.GzipFile(packed))).body == body
    assert exchange(sending(io.BufferedReader(gzip.GzipFile(packed)))).body == body
    assert exchange(sending(io.BytesIO(body))).body == body


def test_wrapped_pipe_is_sent_to_its_end():
    """It has no size and no position, however much it holds."""
    body = noise(500_000)
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
    os.write(writing, body)
    os.close(writing)
    sent = exchange(sending(io.FileIO(reading)))
    assert (sent.body == body, sent.complete) == (True, True)


def test_end_of_a_wrapped_file_is_in_the_write_of_its_last_byte(tmp_path):
    """A web server that has all of a declared length may close before another write."""
    path = tmp_path / "file"
    size = 188_416 + 2 * 61_440
    path.write_bytes(noise(size))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    received = []

    def read():
        while data := theirs.recv(300_000):
            received.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    response = Response(ours.fileno(), 1, "GET", 5)
    application = sending(path.open("rb"), headers=[("Content-Length", str(size))])
    run_application(application, {"wsgi.errors": io.StringIO()}, response)
    ours.close()
    reader.join(10)
    theirs.close()
    assert Sent(b"".join(received)).complete
    assert len(received[-1]) > 1000


def test_wrapped_file_that_shrinks_while_it_is_sent_is_not_completed(tmp_path):
    """A record was begun that cannot be filled."""
    path = tmp_path / "file"
    path.write_bytes(noise(3_000_000))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    received = bytearray()

    def read():
        received.extend(theirs.recv(300_000, socket.MSG_WAITALL))
        os.truncate(path, 1_500_000)  # what is sent by now is less than half of this
        while data := theirs.recv(65536):
            received.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    errors = io.StringIO()
    response = Response(ours.fileno(), 1, "GET", 5)
    environ = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/x", "wsgi.errors": errors}
    run_application(sending(path.open("rb")), environ, response)
    ours.close()
    reader.join(10)
    theirs.close()
    sent = Exchanged(bytes(received), response, errors.getvalue())
    assert (sent.complete, "shorter while it was sent" in sent.errors) == (False, True)
    assert sent.body == path.read_bytes()[: len(sent.body)]


def test_file_is_copied_where_the_kernel_cannot_send_it(tmp_path):
    """Not every pair of descriptors knows sendfile: one opened for appending does not."""
    path, copy = tmp_path / "file", tmp_path / "copy"
    path.write_bytes(noise(100_000))
    with path.open("rb") as source, copy.open("ab") as target:
        send_file(target.fileno(), source.fileno(), 10, 99_990, 5)
        with pytest.raises(ResponseError, match="became 10 bytes shorter"):
            send_file(target.fileno(), source.fileno(), 99_995, 15, 5)
    assert copy.read_bytes()[:99_990] == path.read_bytes()[10:]


def test_wrapped_object_without_close_is_fine():
    """PEP 3333 asks for read() only."""

    class OnlyRead:
        def __init__(self):
            self.parts = [b"", b"ab"]

        def read(self, size):
            return self.parts.pop()

    sent = exchange(sending(OnlyRead()))
    assert (sent.body, sent.complete) == (b"ab", True)


@pytest.mark.parametrize("text", ["", "text"])
def test_wrapped_text_file_ends(text):
    """A file opened without `b` reads "" at its end for ever; that must not keep the worker."""
    runner = threading.Thread(target=exchange, args=[sending(io.StringIO(text))], daemon=True)
    runner.start()
    runner.join(5)
    assert not runner.is_alive()


# -- peers --------------------------------------------------------------------------------------


@pytest.fixture
def stalled():
    """Our end of a connection whose peer reads nothing; and the peer."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


BIG = b"x" * 10_000_000


@pytest.mark.parametrize("form", [answering, streaming])
def test_peer_that_stops_reading_costs_the_write_timeout(stalled, form):
    """response_write_timeout bounds the wait; nobody is blamed in the log."""
    errors = io.StringIO()
    response = Response(stalled[0].fileno(), 1, "GET", 0.1)
    started = time.monotonic()
    run_application(form(BIG), {"wsgi.errors": errors}, response)
    assert 0.09 < time.monotonic() - started < 3
    assert (response.ended, errors.getvalue()) == (False, "")


def test_application_cannot_go_on_with_a_response_that_timed_out(stalled):
    """A record was cut short; anything after it would be read as its rest."""
    ours, theirs = stalled
    received = bytearray()

    def application(environ, start_response):
        write = start_response("200 OK", PLAIN)
        with contextlib.suppress(Exception):
            write(BIG)
        theirs.setblocking(False)
        while True:
            try:
                received.extend(theirs.recv(1_000_000))
            except BlockingIOError:
                break
        with contextlib.suppress(Exception):
            write(b"more")
        return [b"end"]

    response = Response(ours.fileno(), 1, "GET", 0.1)
    run_application(application, {"wsgi.errors": io.StringIO()}, response)
    assert not response.ended
    with pytest.raises(BlockingIOError):
        theirs.recv(1)
    assert received


@pytest.mark.parametrize("form", [answering, streaming])
def test_peer_that_closed_ends_the_response_silently(form):
    """EPIPE is no exception of the application."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    errors = io.StringIO()
    response = Response(ours.fileno(), 1, "GET", 5)
    run_application(form(b"x"), {"wsgi.errors": errors}, response)
    ours.close()
    assert (response.ended, errors.getvalue()) == (False, "")


def test_slow_reader_gets_everything_as_long_as_it_reads(stalled):
    """The time limit is for a peer that takes nothing, not for a slow one."""
    ours, theirs = stalled
    received = bytearray()
    size = 2_000_000

    def read():
        while len(received) < size:
            received.extend(theirs.recv(100_000))
            time.sleep(0.01)

    reader = threading.Thread(target=read)
    reader.start()
    half = memoryview(b"a" * (size // 2))
    write_parts(ours.fileno(), [half[: size // 4], half[size // 4 :], b""], 0.5)
    write_all(ours.fileno(), b"b" * (size // 2), 0.5)
    reader.join(10)
    assert received == b"a" * (size // 2) + b"b" * (size // 2)


def test_more_parts_than_one_system_call_takes_arrive_in_order(stalled):
    """writev takes 1,024 at most."""
    ours, theirs = stalled
    parts = [b"%05d" % number for number in range(3000)] + [b""]
    reader = threading.Thread(target=write_parts, args=(ours.fileno(), parts, 5))
    reader.start()
    received = b""
    while len(received) < 15000:
        received += theirs.recv(4096)
    reader.join(5)
    assert received == b"".join(parts)


def read_some(fd, timeout_s):
    buffer = bytearray(100)
    return bytes(buffer[: read_into(fd, memoryview(buffer), timeout_s)])


def test_reading_waits_for_the_first_byte_only(stalled):
    """Whatever is there is taken at once; the end of the stream is empty."""
    ours, theirs = stalled
    theirs.send(b"abc")
    assert read_some(ours.fileno(), 1) == b"abc"
    with pytest.raises(TimeoutError, match=r"sent nothing for 0\.05 s"):
        read_some(ours.fileno(), 0.05)
    threading.Timer(0.05, theirs.send, [b"late"]).start()
    assert read_some(ours.fileno(), 5) == b"late"
    theirs.shutdown(socket.SHUT_WR)
    assert read_some(ours.fileno(), 5) == b""


def test_reset_connection_is_a_peer_that_is_gone():
    """TCP resets where the web server died with unread data."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with pytest.raises(PeerGoneError):
        read_some(ours.fileno(), 5)
    with pytest.raises(PeerGoneError):
        write_all(ours.fileno(), b"x", 5)
    ours.close()
