"""The bytes of every web server, replayed: each must be understood, whatever its habits."""

import io
from wsgiref.validate import check_environ

import pytest
from conformance import web_servers
from conformance.params_matrix import (
    ABSENT,
    EXPECTED,
    PATH_CASES,
    PATH_DECODED_ONCE,
    PATH_URI,
    SENDERS,
)

from pyfpm.cgi import EnvironBuilder, PathInfo, declared_length
from pyfpm.fastcgi import (
    Abort,
    Begin,
    ClientConnection,
    Params,
    Send,
    ServerConnection,
    Stdin,
    StdinEnd,
    Values,
)

TEMPLATE = {
    "wsgi.version": (1, 0),
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": False,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}
VALUES = {"FCGI_MAX_CONNS": "4", "FCGI_MAX_REQS": "4", "FCGI_MPXS_CONNS": "0"}
each_sender = pytest.mark.parametrize("sender", SENDERS, ids=lambda sender: sender.name)


def replay(stream, read_bytes=65_536):
    """The events of a stream that arrives in reads of this size."""
    connection = ServerConnection(values=VALUES)
    events = []
    for start in range(0, len(stream), read_bytes):
        events += connection.receive(stream[start : start + read_bytes])
    return events


def split_events(events):
    """BEGIN, pairs and body of the one request in these events; its end is asserted."""
    begin, params, *pieces, end = events
    assert isinstance(begin, Begin)
    assert isinstance(params, Params)
    assert isinstance(end, StdinEnd)
    assert all(isinstance(piece, Stdin) for piece in pieces)
    return begin, params.pairs, b"".join(piece.data for piece in pieces)


def matches(environ, sender):
    for key, value in {**EXPECTED, **sender.expected}.items():
        assert environ.get(key) == value, key
    for key in (*ABSENT, *sender.absent):
        assert key not in environ


@each_sender
@pytest.mark.parametrize("size", [0, 5, 8_192, 70_000, 200_001])
@pytest.mark.parametrize("read_bytes", [1_448, 65_536, 10**9])
def test_request_of_every_web_server_is_understood(sender, size, read_bytes):
    """Parameters and body come out whole, however the records were cut and the reads fell."""
    body = bytes(i % 253 for i in range(size))
    pairs = sender.pairs(str(size))
    send = getattr(web_servers, sender.name)
    begin, received, received_body = split_events(replay(send(pairs, body), read_bytes))
    assert received == pairs
    assert received_body == body
    assert begin.keep_conn is (sender.name == "haproxy")
    environ = EnvironBuilder(template=TEMPLATE).build(received)
    matches(environ, sender)
    check_environ(environ)
    assert declared_length(environ) == size


@each_sender
def test_chunked_upload_of_every_web_server_is_understood(sender):
    """Empty, absent and -1 are three ways to say that the end of STDIN decides."""
    body = b"chunk" * 1000
    length = str(len(body)) if sender.chunked == "real" else sender.chunked
    send = getattr(web_servers, sender.name)
    _, pairs, received = split_events(replay(send(sender.pairs(length), body)))
    environ = EnvironBuilder(template=TEMPLATE).build(pairs)
    matches(environ, sender)
    check_environ(environ)
    assert received == body
    expected = len(body) if sender.chunked == "real" else None
    assert declared_length(environ) == expected
    assert ("CONTENT_LENGTH" in environ) is (expected is not None)


@each_sender
@pytest.mark.parametrize("length", ["", None, "0"])
def test_get_has_no_body(sender, length):
    """A GET has an empty (nginx), an absent (Apache) or a zero length (the others)."""
    events = replay(getattr(web_servers, sender.name)(sender.pairs(length)))
    assert [type(event) for event in events] == [Begin, Params, StdinEnd]
    environ = EnvironBuilder(template=TEMPLATE).build(events[1].pairs)
    assert declared_length(environ) == (0 if length else None)
    check_environ(environ)


@pytest.mark.parametrize("send", [web_servers.nginx, web_servers.apache_proxy_fcgi])
def test_kept_connection_is_asked_for_where_configured(send):
    """`fastcgi_keep_conn on` and `enablereuse=on` set the flag; without them it is not set."""
    for keep_conn in (True, False):
        (begin, *_) = replay(send(SENDERS[0].pairs("0"), keep_conn=keep_conn))
        assert begin.keep_conn is keep_conn


@each_sender
def test_parameters_beyond_one_record_are_understood(sender):
    """Where a web server cuts its PARAMS stream, pairs and lengths are put together again."""
    if sender.name in ("nginx", "lighttpd", "haproxy", "cgi_fcgi"):
        extra = [("HTTP_X_LONG", "v" * 9_000)]
    else:
        extra = [(f"HTTP_X_{i}", "v" * 7_000) for i in range(20)]
    pairs = sender.pairs("0") + [(name.encode(), value.encode()) for name, value in extra]
    stream = getattr(web_servers, sender.name)(pairs)
    environ = EnvironBuilder().build(split_events(replay(stream))[1])
    assert all(environ[name] == value for name, value in extra)


def test_unbuffered_upload_of_nginx_is_understood():
    """Its STDIN records are smaller then, and padded still."""
    body = b"x" * 50_001
    stream = web_servers.nginx(SENDERS[0].pairs(""), body, buffered=False)
    assert split_events(replay(stream))[2] == body


def test_requests_of_haproxy_follow_one_another():
    """Ids 1, 3, 5 on one connection, GET_VALUES in front of the first in the same write."""
    sender = next(sender for sender in SENDERS if sender.name == "haproxy")
    connection = ServerConnection(values=VALUES)
    pairs = sender.pairs("4")
    first = web_servers.haproxy_get_values() + web_servers.haproxy(pairs, b"body", request_id=1)
    send, *events = connection.receive(first)
    assert isinstance(send, Send)
    assert ClientConnection().receive(send.data) == [
        Values([(b"FCGI_MAX_REQS", b"4"), (b"FCGI_MPXS_CONNS", b"0")])
    ]
    for request_id in (1, 3, 5):
        if request_id > 1:
            events = connection.receive(web_servers.haproxy(pairs, b"body", request_id=request_id))
        assert [event.request_id for event in events] == [request_id] * 4
        assert split_events(events)[2] == b"body"
        connection.request_ended()
        assert connection.is_quiet()


def test_abort_of_haproxy_leaves_the_connection_to_the_next_request():
    """The aborted request ends; a late ABORT for one that has ended is nothing."""
    sender = next(sender for sender in SENDERS if sender.name == "haproxy")
    connection = ServerConnection(values=VALUES)
    whole = web_servers.haproxy(sender.pairs("100000"), b"x" * 100_000, request_id=1)
    connection.receive(whole[:60_000])
    connection.receive(whole[60_000:-8])
    assert connection.receive(web_servers.haproxy_abort(1)) == [Abort(1)]
    connection.request_ended()
    assert connection.receive(web_servers.haproxy_abort(1)) == []
    events = connection.receive(web_servers.haproxy(sender.pairs("0"), request_id=3))
    assert split_events(events)[0].request_id == 3


@pytest.mark.parametrize("case", PATH_CASES, ids=lambda case: case.name)
def test_path_of_every_web_server_becomes_a_wsgi_pair(case):
    """Without a mount, with one, and from the raw URI, whatever the web server made of it."""
    pairs = [(b"REQUEST_METHOD", b"GET"), (b"REQUEST_URI", PATH_URI.encode())]
    for name, value in (("SCRIPT_NAME", case.script), ("PATH_INFO", case.info)):
        if value is not None:
            pairs.append((name.encode(), value.encode("latin-1")))

    def paths(**options):
        environ = EnvironBuilder(template=TEMPLATE, **options).build(pairs)
        check_environ(environ)
        return environ["SCRIPT_NAME"], environ["PATH_INFO"]

    assert paths() == case.expected
    assert paths(mount="/app") == case.mounted
    assert paths(mount="/ap") == case.expected
    assert paths(path_info=PathInfo.REQUEST_URI, mount="/app") == ("/app", PATH_DECODED_ONCE)
    assert paths(path_info=PathInfo.REQUEST_URI) == ("", "/app" + PATH_DECODED_ONCE)
