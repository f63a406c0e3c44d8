"""What a worker answers outside of a request, to peers that do not read it."""

import contextlib
import fcntl
import socket
import struct
import termios

import pytest
from harness.bare_worker import BareWorker
from harness.fcgi_client import make_params
from harness.machine import wait_until

from pyfpm.fastcgi import (
    encode_begin,
    encode_pairs,
    encode_params,
    encode_request,
    encode_stdin,
)
from pyfpm.messages import Refused


def record(kind, request_id, content):
    return struct.pack(">BBHHBx", 1, kind, request_id, len(content), 0) + content


GET_VALUES = record(9, 0, encode_pairs([(b"FCGI_MAX_CONNS", b""), (b"FCGI_MPXS_CONNS", b"")]))
ANSWER = record(10, 0, encode_pairs([(b"FCGI_MAX_CONNS", b"1000"), (b"FCGI_MPXS_CONNS", b"0")]))
UNKNOWN_TYPE = record(99, 0, b"")
UNKNOWN_ROLE = record(1, 1, struct.pack(">HB5x", 77, 1))
BEGIN = encode_begin(1, keep_conn=True)
ABORTED = BEGIN + record(2, 1, b"")
SECOND = record(1, 2, struct.pack(">HB5x", 1, 1))
ANSWERED = {
    "values": (b"", GET_VALUES, len(ANSWER)),
    "unknown type": (b"", UNKNOWN_TYPE, 16),
    "unknown role": (b"", UNKNOWN_ROLE, 16),
    "second request": (BEGIN, SECOND, 16),
}
READS_A_PART = """
def app(environ, start_response):
    environ["wsgi.input"].read(2000)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"enough"]
"""
BYTES = 4_000_000
"""Of records: with what they are answered, more than the sockets of both sides hold."""


@pytest.fixture
def worker():
    with BareWorker("torture:app", header_timeout_s=60, body_timeout_s=0.5) as running:
        yield running


def refused(worker, reason="protocol_error"):
    wait_until(lambda: [line for line in worker.said(Refused) if line.reason == reason])
    return [line.text for line in worker.said(Refused) if line.reason == reason]


@pytest.mark.parametrize("kind", ANSWERED)
def test_peer_that_reads_no_answer_is_closed_and_keeps_nobody_waiting(worker, kind):
    """The worker waits for no room: the next client has its answer long before 60 s."""
    first, one, _ = ANSWERED[kind]
    with worker.client() as silent, worker.client() as other:
        with contextlib.suppress(ConnectionError):
            silent.send(first + one * (BYTES // len(one)))
        assert other.request("/pid").complete
        assert "does not read" in refused(worker)[0]


@pytest.mark.parametrize("kind", ANSWERED)
def test_peer_that_reads_has_every_answer(worker, kind):
    """Hundreds of records to be answered in one read are no offence."""
    first, one, answer_bytes = ANSWERED[kind]
    count = 60_000 // len(one)
    with worker.client() as client:
        client.send(first)
        for _ in range(3):
            client.send(one * count)
            left = count * answer_bytes
            while left:
                received = client.socket.recv(min(left, 65536))
                assert received
                left -= len(received)
        assert not worker.said(Refused) or kind == "unknown role"


def leave_no_room(worker, client):
    """Have the worker fill the connection with short answers, to the last one that it takes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        fitting = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                fitting += ours.send(ANSWER) // len(ANSWER)
    for _ in range(fitting):
        client.send(GET_VALUES)
        wait_until(lambda: unread_by_peer(client.socket) == 0, interval_s=0.0005)


def unread_by_peer(link):
    (count,) = struct.unpack("i", fcntl.ioctl(link, termios.TIOCOUTQ, bytes(4)))
    return count


def whole(length):
    return encode_request(1, make_params("/length", params={"CONTENT_LENGTH": length}))


def half(length):
    params = make_params("/length", method="POST", params={"CONTENT_LENGTH": length})
    return encode_begin(1) + encode_params(1, params)


@pytest.mark.parametrize(
    "request_bytes", [whole("ten"), half("1000"), ABORTED], ids=["400", "408", "aborted"]
)
def test_ending_that_finds_no_room_closes_and_keeps_nobody_waiting(worker, request_bytes):
    """A request that is malformed, late or aborted is answered only where that costs no time."""
    with worker.client() as silent:
        leave_no_room(worker, silent)
        assert not worker.said(Refused)
        silent.send(request_bytes)
        with worker.client() as other:
            assert "does not read" in refused(worker)[0]
            assert other.request("/pid").complete


@pytest.mark.parametrize(
    ("status", "request_bytes"), [(400, whole("ten")), (408, half("1000"))], ids=["400", "408"]
)
def test_refusal_arrives_where_answers_are_read(worker, status, request_bytes):
    """The twin: the same bytes on a connection with room."""
    with worker.client() as client:
        client.send(request_bytes)
        assert client.response().status == status


def test_aborted_request_is_ended_where_answers_are_read(worker):
    """And the connection goes on."""
    with worker.client() as client:
        client.send(ABORTED)
        assert client.response().complete
        assert client.request("/pid").complete


def test_records_behind_a_body_that_was_not_read_keep_nobody_waiting():
    """They are answered when the request is over, so no time limit of its own is left to them."""
    files = {"lazy.py": READS_A_PART}
    lazy = BareWorker("lazy:app", files=files, buffer_size_bytes=100)
    with lazy as worker, worker.client() as silent, worker.client() as other:
        silent.send(half("5000") + encode_stdin(1, b"x" * 500))
        worker.wait_running()
        silent.send(encode_stdin(1, b"x" * 1600) + UNKNOWN_TYPE * 8000)
        assert other.request("/").complete
        response = silent.response()
        assert (response.status, response.body) == (200, b"enough")
