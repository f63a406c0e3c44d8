"""The connection to a web server that is slow, reads nothing, closes or resets."""

import contextlib
import io
import socket
import threading
import time

import pytest
from harness.wsgi_exchange import PLAIN, answering, streaming

from pyfpm.runtime.peer import PeerGoneError, read_into, write_all, write_parts
from pyfpm.runtime.response import Response
from pyfpm.runtime.wsgi import run_application


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
