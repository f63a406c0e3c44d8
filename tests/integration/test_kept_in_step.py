"""Kept connections stay in step, whatever an application does with a long body."""

import time

import pytest
from harness.fcgi_client import FcgiClient, make_params
from harness.machine import free_port
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_begin, encode_params, encode_request, encode_stdin

POOL = """\
[pool:one]
app = late:app
listen = 127.0.0.1:{port}
pm = static
pm.max_children = 1
request_buffer_size = 10K
response_write_timeout = 2592000s
keepalive_timeout = 2592000s
request_body_timeout = 2592000s
"""
APP = """\
import os
import time

def app(environ, start_response):
    path, body, wrap = environ["PATH_INFO"], environ["wsgi.input"], environ["wsgi.file_wrapper"]
    if path == "/early":
        write = start_response("200 OK", [("Content-Length", "5")])
        write(b"early")
        time.sleep(0.3)
        while body.read(65536):
            pass
        return []
    if path == "/closing":
        start_response("200 OK", [("Content-Length", "5")])
        return Closing(body)
    if path == "/pause":
        reader, environ["writer"] = os.pipe()
        os.set_blocking(reader, False)
        os.write(environ["writer"], b"x" * 100)
        start_response("200 OK", [])
        return wrap(open(reader, "rb", buffering=0))
    if path == "/big":
        start_response("200 OK", [])
        return [b"x" * 8_000_000]
    if path == "/part":
        class Part(wrap):
            def __iter__(self):
                yield self.file.read(5)
        start_response("200 OK", [])
        return Part(open(__file__, "rb"))
    try:
        body.read()
    except OSError:
        pass
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

class Closing:
    def __init__(self, body):
        self.body = body
    def __iter__(self):
        yield b"early"
    def close(self):
        time.sleep(0.3)
        try:
            self.body.read()
        except OSError:
            pass
"""


@pytest.fixture(scope="module")
def address():
    port = free_port()
    with Pyfpm(POOL.format(port=port), files={"late.py": APP}):
        yield f"127.0.0.1:{port}"


@pytest.mark.parametrize("path", ["/early", "/closing"])
@pytest.mark.parametrize("params", [{}, {"CONTENT_LENGTH": ""}])
def test_request_behind_a_body_that_is_read_late_is_answered(address, path, params):
    """The response is whole before its request's body is read, and the next request is there."""
    with FcgiClient(address, 5) as client:
        body = b"b" * 170_000
        pairs = make_params(path, method="POST", body=body, params=params)
        client.send(encode_request(1, pairs, body, keep_conn=True))
        assert client.response().body == b"early"
        client.send(encode_request(1, make_params("/"), keep_conn=True))
        assert client.response().body == b"ok"


def test_connection_with_a_broken_record_within_a_body_is_not_kept(address):
    """Nobody knows where the next record begins."""
    with FcgiClient(address, 5) as client:
        pairs = make_params("/", method="POST", body=b"b" * 100_000)
        half = encode_stdin(1, b"b" * 50_000)
        client.send(encode_begin(1, keep_conn=True) + encode_params(1, pairs) + half)
        time.sleep(0.2)
        client.send(b"\x02\x05\0\x01\0\0\0\0")
        assert client.response().body == b"ok"
        assert client.socket.recv(100) == b""


def test_part_of_a_file_is_all_that_a_derived_wrapper_sends(address):
    """An application that derives from wsgi.file_wrapper decides what of the file leaves."""
    with FcgiClient(address) as client:
        assert client.request("/part").body == b"impor"


def test_pipe_that_has_nothing_now_breaks_the_response_off(address):
    """Completed, it would look whole."""
    with FcgiClient(address) as client:
        assert not client.request("/pause").complete


def test_reader_may_be_waited_for_longer_than_poll_can(address):
    """Times of a month are beyond what poll and epoll take at once."""
    with FcgiClient(address) as client:
        client.send(encode_request(1, make_params("/big"), keep_conn=True))
        time.sleep(0.3)
        assert len(client.response().body) == 8_000_000
