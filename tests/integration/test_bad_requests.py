"""Requests that are broken, too large or too slow: the connection pays, never the worker."""

import socket
import time

import pytest
from harness.fcgi_client import FcgiClient, connect, fetch, make_params
from harness.machine import free_port
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_begin, encode_params, encode_request, encode_stdin

TCP_PORT = free_port()

POOLS = f"""
[pool:one]
app = torture:app
listen = %(here)s/one.sock
pm = static
pm.max_children = 1
request_max_body = 100K
request_max_params = 8K
request_header_timeout = 1s
request_body_timeout = 1s
request_buffer_size = 10K
response_write_timeout = 1s

[pool:tcp]
app = torture:app
listen = 127.0.0.1:{TCP_PORT}
listen.allowed_clients = 10.0.0.0/8
pm = static
pm.max_children = 1
"""


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS) as running:
        yield running


@pytest.fixture
def address(fpm):
    """The pool's one worker must be the same after each test, whatever it was sent."""
    address = fpm.address("one.sock")
    before = fetch(address, "/pid").body
    yield address
    assert fetch(address, "/pid").body == before


MALFORMED = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another version": b"\x02\x01\x00\x01\x00\x08\x00\x00" + bytes(8),
    "short BEGIN": b"\x01\x01\x00\x01\x00\x03\x00\x00abc",
    "PARAMS out of nowhere": encode_begin(1) + b"\x01\x04\x00\x00\x00\x01\x00\x00a",
    "pair longer than its stream": encode_begin(1)
    + b"\x01\x04\x00\x01\x00\x06\x00\x00\x0f\x0fabcd"
    + b"\x01\x04\x00\x01\x00\x00\x00\x00",
    "31-bit length": encode_begin(1)
    + b"\x01\x04\x00\x01\x00\x09\x00\x00\xff\xff\xff\xff\x01abcd"
    + b"\x01\x04\x00\x01\x00\x00\x00\x00",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_stream_closes_its_connection_and_logs_one_line(fpm, address, data):
    """The peer is cut off, the log has one line about it, and the worker goes on."""
    mark = fpm.log.mark()
    with FcgiClient(address) as client:
        client.send(data)
        assert client.is_closed_by_peer()
    assert fetch(address).status == 200
    fpm.log.wait_for(r"\[pool one\]", since=mark)
    assert len(fpm.log.find(r"\[pool one\]", since=mark)) == 1


def test_a_body_beyond_the_limit_is_a_413(address):
    """Announced as too long, or growing too long while it comes."""
    assert fetch(address, "/sha256", method="POST", body=b"x" * 100_000).status == 200
    assert fetch(address, "/sha256", method="POST", body=b"x" * 200_000).status == 413
    chunked = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    response = fetch(address, "/sha256", method="POST", body=b"x" * 200_000, params=chunked)
    assert response.status == 413


@pytest.mark.parametrize("length", ["-2", "+1", "1_0", " 10 ", "ten", "9" * 30])
def test_a_malformed_length_is_a_400(address, length):
    """Only ASCII digits are a length; nothing is guessed."""
    response = fetch(address, "/length", method="POST", params={"CONTENT_LENGTH": length})
    assert response.status == 400


def test_parameters_beyond_the_limit_are_refused(fpm, address):
    """More bytes of parameters than request_max_params, however many records they come in."""
    with FcgiClient(address) as client:
        try:
            response = client.request("/", headers={f"X-{n}": "v" * 1000 for n in range(20)})
        except (BrokenPipeError, ConnectionResetError):
            return
        assert not response.complete or response.status in (400, 413, 431)


def test_half_a_head_is_given_up_after_its_time(address):
    """A peer that stops in the middle of PARAMS holds no worker, and its connection not long."""
    with FcgiClient(address) as client:
        client.send(encode_begin(1) + encode_params(1, make_params("/"))[:20])
        assert fetch(address).status == 200
        started = time.monotonic()
        assert client.is_closed_by_peer()
        assert time.monotonic() - started < 4


def test_half_a_small_body_holds_no_worker(address):
    """Below request_buffer_size the connection waits, while the only worker serves others."""
    with FcgiClient(address) as slow:
        params = make_params("/length", method="POST", body=b"x" * 1000)
        begin = encode_begin(1) + encode_params(1, params)
        slow.send(begin + encode_stdin(1, b"x" * 500))
        for _ in range(5):
            assert fetch(address).status == 200
        slow.send(encode_stdin(1, b"x" * 500) + encode_stdin(1, b""))
        assert b'"read": 1000' in slow.response().body


def test_half_a_large_body_ends_after_its_time(address):
    """A streaming body that stops: the worker is free again after request_body_timeout."""
    with FcgiClient(address) as slow:
        params = make_params("/sha256", method="POST", body=b"x" * 90_000)
        slow.send(encode_begin(1) + encode_params(1, params) + encode_stdin(1, b"x" * 50_000))
        assert fetch(address).status == 200


def test_a_peer_that_takes_no_response_ends_after_its_time(address):
    """The worker is free again after response_write_timeout."""
    with FcgiClient(address) as deaf:
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.send(encode_request(1, make_params("/big?mb=20")))
        assert fetch(address).status == 200


def test_a_client_that_leaves_in_the_middle_harms_nobody(address):
    """Connections that end at every stage of a request."""
    whole = encode_request(1, make_params("/echo", method="POST", body=b"x" * 9000), b"x" * 9000)
    for cut in (1, 8, 20, 200, 600, len(whole) - 20, len(whole)):
        with FcgiClient(address) as client:
            client.send(whole[:cut])
    assert fetch(address).status == 200


def test_a_tcp_client_that_is_not_allowed_is_cut_off(fpm):
    """listen.allowed_clients is asked before a byte is read."""
    mark = fpm.log.mark()
    with FcgiClient(f"127.0.0.1:{TCP_PORT}") as client:
        assert client.is_closed_by_peer()
    fpm.log.wait_for(r"\[pool tcp\].*127\.0\.0\.1", since=mark, timeout_s=3)


def test_repeated_variables_that_may_not_repeat_are_a_400(address):
    """Two values for one CGI variable: nobody can tell which one the web server meant."""
    pairs = [*make_params("/"), (b"SCRIPT_NAME", b"/other")]
    with FcgiClient(address) as client:
        client.send(encode_request(1, pairs))
        assert client.response().status == 400


def test_a_connection_that_says_nothing_costs_nothing(address):
    """Open connections without a request do not keep the only worker from its work."""
    silent = [connect(address) for _ in range(20)]
    try:
        assert fetch(address).status == 200
    finally:
        for link in silent:
            link.close()
