"""What went wrong in other FastCGI software, by its CVE where it has one.

Those that need a master and its workers are in tests/integration/test_known_attacks_on_processes.
"""

import struct
import tracemalloc

import pytest
from conformance.wire import begin, params_stream, record

from pyfpm.cgi import EnvironBuilder, PathInfo, declared_length, format_head
from pyfpm.errors import BadRequest, ProtocolError, ResponseError
from pyfpm.fastcgi import (
    ClientConnection,
    ServerConnection,
    Stdin,
    encode_begin,
    encode_end,
    encode_end_request,
    encode_request,
    encode_response,
    encode_stdin,
    encode_stdout,
)
from pyfpm.fastcgi.records import RecordReader
from pyfpm.observe import render_json, render_text, summarise
from pyfpm.observe.status import LARGEST_COUNT, LARGEST_PID
from pyfpm.scoreboard import SLOT_BYTES, NoticeCopy, read_slot
from pyfpm.scoreboard.slot import STAGE_AT, TEXT_ROOM

GET = (b"REQUEST_METHOD", b"GET")


def open_request():
    """A connection in the middle of the body of request 1."""
    connection = ServerConnection()
    connection.receive(begin(1) + params_stream(1, [GET], 65_535))
    return connection


def test_cve_2016_5385_httpoxy_header_does_not_reach_the_application():
    """A client's Proxy header must not become the application's proxy."""
    environ = EnvironBuilder().build([GET, (b"HTTP_PROXY", b"evil:80"), (b"http_proxy", b"evil")])
    assert not [key for key in environ if "proxy" in key.lower()]


@pytest.mark.parametrize("name_length", [2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("value_length", [1, 2**31 - 1, 2**31, 2**32 - 1])
def test_cve_2025_23016_giant_lengths_neither_wrap_nor_allocate(name_length, value_length):
    """In libfcgi the sum of both lengths overflowed, and the heap with it."""
    lengths = struct.pack(">II", name_length | 2**31, value_length | 2**31)
    request = begin(1) + record(4, 1, lengths + b"x" * 100) + record(4, 1, b"")
    tracemalloc.start()
    with pytest.raises(ProtocolError):
        ServerConnection().receive(request)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("length", [65_529, 65_535])
@pytest.mark.parametrize("padding", [1, 7, 255])
def test_cve_2026_55203_padding_does_not_wrap_the_length_of_a_record(length, padding):
    """Content and padding do not fit 16 bits; a reader that wraps takes body bytes for records."""
    smuggled = (begin(1) + params_stream(1, [(b"EVIL", b"1")], 65_535)) * 2_000
    connection = open_request()
    body = smuggled[:length]
    stream = record(5, 1, body, padding, fill=b"\x01") + record(5, 1, b"end")
    assert connection.receive(stream) == [Stdin(1, body), Stdin(1, b"end")]


@pytest.mark.parametrize("length", [65_535, 65_536, 65_537, 131_072, 200_000])
def test_length_beyond_16_bits_is_never_written(length):
    """HAProxy cut a length to 16 bits, and the rest of the body was read as records."""
    smuggled = (begin(1) * length)[:length]
    for stream in (
        encode_stdin(1, smuggled),
        b"".join(encode_stdout(1, smuggled)),
        encode_response(1, b"", smuggled),
    ):
        records = RecordReader().feed(stream)
        assert b"".join(content for kind, _, content in records if kind in (5, 6)) == smuggled


def test_begin_inside_a_body_is_content():
    """What lies inside a record is never parsed."""
    connection = open_request()
    evil = begin(1) + params_stream(1, [(b"EVIL", b"1")], 65_535)
    assert connection.receive(record(5, 1, evil)) == [Stdin(1, evil)]


@pytest.mark.parametrize(
    "evil",
    [
        begin(1),
        record(4, 1, b"\x01\x01ab"),
        record(5, 0, b"x"),
        record(5, 1, b"x", version=0),
        record(6, 1, b"x"),
        record(3, 1, b"\0" * 8),
    ],
)
def test_stream_out_of_step_ends_the_connection(evil):
    """A reader that tries to go on serves whatever was smuggled."""
    with pytest.raises(ProtocolError):
        open_request().receive(evil)


def test_cve_2023_0836_no_uninitialised_byte_is_written():
    """Reserved bytes and padding are zero."""
    assert encode_begin(1)[8:] == b"\0\1" + b"\0" * 6
    assert encode_end(1)[-3:] == b"\0" * 3
    assert encode_end_request(1)[-3:] == b"\0" * 3
    stream = encode_request(1, [GET], b"x" * 70_000)
    position = 0
    while position < len(stream):
        length, padding, reserved = struct.unpack_from(">HBB", stream, position + 4)
        assert (padding, reserved) == (0, 0)
        position += 8 + length


@pytest.mark.parametrize("path", ["/app/\n", "/app\n", "/app/x\ny", "/app/%0a"])
def test_cve_2019_11043_newline_does_not_empty_the_path(path):
    """PHP-FPM computed PATH_INFO from the lengths of two parameters, and underflowed."""
    for option in PathInfo:
        environ = EnvironBuilder(mount="/app/x/y/z", path_info=option).build(
            [GET, (b"SCRIPT_NAME", path.encode()), (b"SCRIPT_FILENAME", b"/"), (b"PATH_INFO", b"")]
        )
        assert environ["SCRIPT_NAME"] + environ["PATH_INFO"] == path


def test_cve_2014_3583_long_reply_head_is_read_whole():
    """A head longer than a record was read beyond its buffer by mod_proxy_fcgi."""
    head = b"Status: 200 OK\r\nX: " + b"v" * 100_000 + b"\r\n\r\n"
    client = ClientConnection()
    encoded = encode_response(1, head, b"")
    events = [
        event for i in range(0, len(encoded), 777) for event in client.receive(encoded[i : i + 777])
    ]
    assert b"".join(event.data for event in events[:-1]) == head


@pytest.mark.parametrize(
    "headers",
    [
        [("X", "a\r\n\r\n<script>")],
        [("X\r\nSet-Cookie", "a")],
        [("Location", "/\nX-Accel-Redirect: /internal")],
        [("X", "a\0b")],
        [("Content-Length", "5"), ("Content-Length", "6")],
        [("Transfer-Encoding", "chunked")],
        [("Status", "500 x")],
    ],
)
def test_response_splitting_is_refused(headers):
    """No text of an application begins a header or a response of its own."""
    with pytest.raises(ResponseError):
        format_head("200 OK", headers, method="GET")
    with pytest.raises(ResponseError):
        format_head("200 OK\r\nX: y", [], method="GET")


@pytest.mark.parametrize("length", ["+1", "1_0", " 10 ", "-2", "9" * 5000, "0x1", "1\0"])
def test_length_that_two_readers_read_differently_is_refused(length):
    """Request smuggling begins with a length; a giant one is work for int()."""
    environ = EnvironBuilder().build([GET, (b"CONTENT_LENGTH", length.encode())])
    with pytest.raises(BadRequest):
        declared_length(environ)


def test_parameters_do_not_replace_keys_of_the_server():
    """A web server's parameters cannot pretend to be wsgi.input or the scheme."""
    template = {"wsgi.input": "ours", "pyfpm.pool": "shop"}
    environ = EnvironBuilder(template=template).build(
        [GET, (b"wsgi.input", b"x"), (b"wsgi.url_scheme", b"gopher"), (b"pyfpm.pool", b"x")]
    )
    assert (environ["wsgi.input"], environ["pyfpm.pool"]) == ("ours", "shop")
    assert environ["wsgi.url_scheme"] == "http"


def test_memory_bomb_of_tiny_pairs_is_refused():
    """A megabyte of two-byte pairs would become fifty megabytes of objects."""
    stream = record(4, 1, b"\0\0" * 30_000) + record(4, 1, b"")
    with pytest.raises(ProtocolError, match="more than"):
        ServerConnection().receive(begin(1) + stream)


@pytest.mark.parametrize("name", [b"HTTP_REDIRECT_STATUS", b"HTTP_HTTP_REDIRECT_STATUS"])
def test_cve_2024_8927_header_of_a_client_is_no_word_of_the_web_server(name):
    """PHP took a header named Redirect-Status for its web server's REDIRECT_STATUS."""
    environ = EnvironBuilder().build([GET, (name, b"200"), (b"HTTP_REMOTE_USER", b"admin")])
    assert environ[name.decode()] == "200"
    assert not {"REDIRECT_STATUS", "REMOTE_USER"} & environ.keys()


@pytest.mark.parametrize("byte", [0xFF, 0x7F, 0x80, 0x01])
def test_cve_2021_21703_numbers_and_lengths_in_a_slot_are_not_believed(byte):
    """PHP-FPM's master followed pointers in memory that workers write."""
    slot = bytearray(bytes((byte,)) * SLOT_BYTES)
    slot[STAGE_AT] = ord("W")
    copy = read_slot(memoryview(slot))
    texts = (copy.method, copy.uri, copy.script, copy.user)
    assert sum(map(len, texts)) <= TEXT_ROOM
    status = summarise(NoticeCopy(pool="shop"), [copy], now_s=100.0, now_epoch_s=2e9)
    (process,) = status.processes
    assert 0 <= process.pid <= LARGEST_PID
    numbers = (process.requests, process.content_length, process.duration_us, status.accepted)
    assert all(0 <= number <= LARGEST_COUNT for number in numbers)
    assert render_json(status, full=True).isascii()
    assert all(line.isprintable() for line in render_text(status, full=True).split("\n"))
