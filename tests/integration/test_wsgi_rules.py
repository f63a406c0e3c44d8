"""PEP 3333 where applications break it: what the client gets and what the operator reads."""

import json

import pytest
from harness.fcgi_client import FcgiClient, fetch
from harness.master import Pyfpm

POOLS = """
[pool:one]
app = torture:app
listen = %(here)s/one.sock
pm = static
pm.max_children = 1
"""


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS) as running:
        yield running


@pytest.fixture
def address(fpm):
    """The pool's one worker must be the same after each test."""
    address = fpm.address("one.sock")
    before = fetch(address, "/pid").body
    yield address
    assert fetch(address, "/pid").body == before


def closes(address: str) -> int:
    return json.loads(fetch(address, "/closes").body)["closed"]


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/error", "raised before the response"),
        ("/error-after-start", "raised after start_response"),
        ("/no-start", "start_response"),
        ("/start-twice", "start_response"),
        ("/bad-header", "X-Bad"),
        ("/text", "str"),
    ],
)
def test_a_mistake_before_the_first_byte_is_a_500(fpm, address, path, logged):
    """A complete error page for the client, the reason in the log, on a connection that stays."""
    mark = fpm.log.mark()
    with FcgiClient(address) as client:
        response = client.request(path, keep=True)
        assert (response.status, response.complete) == (500, True)
        assert client.request("/", keep=True).body == b"torture\n"
    fpm.log.wait_for(logged, since=mark)
    fpm.log.wait_for(path, since=mark)  # which request it was


def test_a_failure_after_the_first_byte_closes_without_an_end(fpm, address):
    """No END_REQUEST: the web server must not take the part for the whole."""
    mark = fpm.log.mark()
    with FcgiClient(address) as client:
        response = client.request("/error-late", keep=True)
        assert response.status == 200
        assert not response.complete
        assert client.is_closed_by_peer()
    fpm.log.wait_for("raised after the first piece", since=mark)


def test_a_body_shorter_than_announced_is_not_completed(fpm, address):
    """The client would wait for the rest; the log says how many bytes are missing."""
    mark = fpm.log.mark()
    response = fetch(address, "/short?n=2")
    assert (response.status, response.complete) == (200, False)
    fpm.log.wait_for(r"\[pool one\].*80 bytes", since=mark)


def test_a_body_shorter_than_announced_and_known_at_once_is_a_500(fpm, address):
    """Nothing has been sent when the only piece turns out too short: the failure is clean."""
    mark = fpm.log.mark()
    response = fetch(address, "/short?n=1")
    assert (response.status, response.complete) == (500, True)
    fpm.log.wait_for(r"\[pool one\].*90 bytes", since=mark)


def test_a_body_longer_than_announced_is_cut(fpm, address):
    """The bytes beyond Content-Length would be the start of the next response."""
    mark = fpm.log.mark()
    response = fetch(address, "/long")
    assert response.body == b"12345"
    fpm.log.wait_for(r"\[pool one\].*/long.*5 bytes", since=mark, timeout_s=3)


def test_an_iterable_is_closed_once_whatever_happens(address):
    """After a whole response, after a failure midway, after a client that left, for HEAD."""
    before = closes(address)
    fetch(address, "/stream?n=3")
    assert closes(address) == before + 1
    fetch(address, "/error-late")
    assert closes(address) == before + 2
    fetch(address, "/stream?n=3", method="HEAD")
    assert closes(address) == before + 3
    with FcgiClient(address) as client:
        client.socket.settimeout(5)
        client.request("/", keep=True)
    assert closes(address) == before + 3


def test_an_exception_in_close_leaves_the_response_whole(fpm, address):
    """The client has everything by then; the log has the traceback."""
    mark = fpm.log.mark()
    response = fetch(address, "/error-close")
    assert (response.status, response.body) == (200, b"ok")
    fpm.log.wait_for("raised in close", since=mark)


def test_output_of_the_application_is_in_the_log(fpm, address):
    """stdout, stderr and wsgi.errors, each with the pool's name."""
    mark = fpm.log.mark()
    fetch(address, "/print?text=one-and-only")
    fetch(address, "/errors?text=another-one")
    fpm.log.wait_for(r"\[pool one\].*torture: on stdout one-and-only", since=mark)
    fpm.log.wait_for(r"\[pool one\].*torture: on stderr one-and-only", since=mark)
    fpm.log.wait_for(r"\[pool one\].*torture: to wsgi.errors another-one", since=mark)


def test_a_worker_whose_application_forks_serves_on(address):
    """A child of the application that ends takes no connection of the worker with it."""
    for _ in range(3):
        assert fetch(address, "/fork").body == b"child ended with 0\n"
    with FcgiClient(address) as client:
        assert client.request("/fork", keep=True).status == 200
        assert client.request("/", keep=True).body == b"torture\n"


def test_a_status_header_is_always_sent(address):
    """Web servers guess without it, each in its own way."""
    for path in ("/", "/redirect", "/error", "/status?code=204"):
        assert fetch(address, path).header("Status")
