"""wsgi.file_wrapper: files, parts of files, and what only looks like a file."""

import fcntl
import gzip
import io
import os
import socket
import threading

import pytest
from harness.wsgi_exchange import PLAIN, Exchanged, Sent, exchange, noise

from pyfpm.errors import ResponseError
from pyfpm.runtime.file_wrapper import FileWrapper
from pyfpm.runtime.peer import send_file
from pyfpm.runtime.response import Response
from pyfpm.runtime.wsgi import run_application


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
