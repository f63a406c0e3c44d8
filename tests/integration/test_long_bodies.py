"""Long request and response bodies through a real worker: whole, in step, in constant memory."""

import os
import re
from pathlib import Path

import pytest
from harness.fcgi_client import FcgiClient, make_params
from harness.master import Pyfpm

from pyfpm.fastcgi import (
    ClientConnection,
    EndRequest,
    Stdout,
    encode_begin,
    encode_params,
    encode_request,
    encode_stdin,
)

POOL = """
[pool:one]
app = bodies:app
listen = %(here)s/one.sock
pm = static
pm.max_children = 1
"""

APP = """
import os

PLAIN = [("Content-Type", "text/plain")]


def produce(size):
    piece = bytes(65536)
    for _ in range(size // len(piece)):
        yield piece


def app(environ, start_response):
    path = environ["PATH_INFO"]
    size = int(environ["QUERY_STRING"] or 0)
    body = environ["wsgi.input"]
    if path == "/count":
        count = 0
        while data := body.read(size):
            count += len(data)
        answer = b"%d" % count
    elif path == "/lines":
        answer = b"%d" % sum(map(len, body))
    elif path == "/some":
        answer = body.read(size)[-4:]
    elif path == "/pid":
        answer = b"%d" % os.getpid()
    else:
        start_response("200 OK", PLAIN)
        if path == "/generator":
            return produce(size)
        if path == "/list":
            return [bytes(1 << 20)] * (size >> 20)
        return environ["wsgi.file_wrapper"](open("long", "rb"))
    start_response("200 OK", PLAIN)
    return [answer]
"""

SIZE = 64 << 20
MOST_GROWTH = 16 << 20


def make_file(folder):
    with (folder / "app" / "long").open("wb") as file:
        file.truncate(SIZE)


@pytest.fixture(scope="module")
def fpm():
    """One worker, with which all of this happens."""
    with Pyfpm(POOL, files={"bodies.py": APP}, prepare=make_file) as fpm:
        yield fpm


@pytest.fixture
def client(fpm):
    with fpm.client("one.sock") as client:
        client.socket.settimeout(60)
        yield client


class Memory:
    """The resident memory of a process, from its peak after this was made."""

    def __init__(self, pid):
        self._status = Path(f"/proc/{pid}/status")
        self._before = self._read("VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is what is resident now

    def growth(self):
        return self._read("VmHWM") - self._before

    def _read(self, name):
        return int(re.search(rf"{name}:\s+(\d+) kB", self._status.read_text())[1]) * 1024


def memory_of_worker(client):
    return Memory(int(client.request("/pid", keep=True).body))


@pytest.mark.parametrize("uri", ["/count?4096", "/count?65536", "/count?1048576"])
def test_long_upload_takes_no_memory(client, uri):
    """A body that streams is in memory a piece at a time, whatever the application reads."""
    memory = memory_of_worker(client)
    response = client.request(uri, method="POST", body=bytes(SIZE), keep=True)
    assert response.body == b"%d" % SIZE
    assert memory.growth() < MOST_GROWTH


def count_response(client, uri):
    """How many bytes of body come, and whether they end with END_REQUEST; none of it is kept."""
    client.send(encode_request(1, make_params(uri)))
    codec = ClientConnection()
    count, head, events = 0, b"", []
    while data := client.socket.recv(1 << 18):
        events = codec.receive(data)
        for event in events:
            if isinstance(event, Stdout):
                head = head or event.data.partition(b"\r\n\r\n")[0]
                count += len(event.data)
    return count - len(head) - 4, isinstance(events[-1], EndRequest)


@pytest.mark.parametrize("path", ["/generator", "/list", "/file"])
def test_long_download_takes_no_memory(fpm, client, path):
    """Neither do framing and sending."""
    memory = memory_of_worker(client)
    with fpm.client("one.sock") as downloading:
        assert count_response(downloading, f"{path}?{SIZE}") == (SIZE, True)
    assert memory.growth() < MOST_GROWTH


def test_lines_of_a_long_body_are_all_there(client):
    """Lines are cut wherever records end."""
    body = b"".join(b"%d\n" % number for number in range(300_000))
    response = client.request("/lines", method="POST", body=body, keep=True)
    assert response.body == b"%d" % len(body)


@pytest.mark.parametrize("size", [0, 1, 1_048_577, 1_200_000, 2_999_999])
def test_connection_goes_on_after_a_body_that_was_not_read_to_its_end(client, size):
    """What the application leaves is skipped; the next request is understood."""
    body = os.urandom(3_000_000)
    for _ in range(2):
        response = client.request(f"/some?{size}", method="POST", body=body, keep=True)
        assert response.body == body[:size][-4:]
    assert client.request("/count?100", method="POST", body=b"next", keep=True).body == b"4"


def test_records_with_padding_and_of_other_requests_do_not_get_into_a_long_body(fpm):
    """Whatever else the web server puts between them."""
    params = {"REQUEST_METHOD": "POST", "PATH_INFO": "/count", "QUERY_STRING": "50000"}
    pairs = [(name.encode(), value.encode()) for name, value in params.items()]
    padded = b"\1\5\0\1\x75\x30\xff\0" + b"x" * 30_000 + b"p" * 255
    with FcgiClient(fpm.address("one.sock")) as client:
        client.send(
            encode_begin(1)
            + encode_params(1, pairs)
            + (padded + encode_stdin(2, b"other")) * 100
            + encode_stdin(1, b"")
        )
        assert client.response().body == b"3000000"
