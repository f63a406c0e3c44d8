"""The end of a response: when it is sent, what is counted as a failure, and who may write."""

import os
import signal

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_request

POOL = """
[pool:a]
app = ends:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 1
pm.status_path = /fpm-status
"""

APPLICATION = """
import os, signal, sys, time

kept = []

class Body:
    def __init__(self, write):
        self.write = write
    def __iter__(self):
        yield b"complete"
    def close(self):
        try:
            self.write(b"Status: 200 stolen\\r\\n\\r\\nstolen")
        except Exception:
            pass

def app(environ, start_response):
    path = environ["PATH_INFO"]
    write = start_response("200 OK", [("Content-Type", "text/plain")] + (
        [("Content-Length", "6")] if path == "/exact" else []))
    if path == "/exact":
        return iter([b"abc", b"def"])
    if path == "/write-late":
        return Body(write)
    if path == "/endless":
        return (b"x" * 65536 for _ in range(100000))
    if path == "/kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/child-exits":
        child = os.fork()
        if child == 0:
            sys.exit(3)
        _, status = os.waitpid(child, 0)
        return [b"%d" % os.waitstatus_to_exitcode(status)]
    if path == "/child-returns":
        child = os.fork()
        if child == 0:
            return [b"from the child"]
        _, status = os.waitpid(child, 0)
        return [b"%d" % os.waitstatus_to_exitcode(status)]
    if path == "/child-terminated":
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(9)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        return [b"%d" % os.waitstatus_to_exitcode(status)]
    return [b"plain"]
"""


@pytest.fixture
def fpm():
    with Pyfpm(POOL, files={"ends.py": APPLICATION}) as service:
        yield service


def test_end_comes_with_the_last_declared_byte(fpm):
    """A web server that has all bytes may close at once; the end must not come in a later write."""
    with FcgiClient(fpm.address("a.sock")) as client:
        response = client.request("/exact", keep=True)
        assert (response.status, response.body, response.complete) == (200, b"abcdef", True)
        assert client.request("/plain", keep=True).body == b"plain"
    assert fpm.pool_status("a")["requests 5xx"] == 0


def test_write_after_the_end_reaches_nobody(fpm):
    """An application that keeps `write` cannot put bytes into the next response."""
    with FcgiClient(fpm.address("a.sock")) as client:
        assert client.request("/write-late", keep=True).body == b"complete"
        response = client.request("/plain", keep=True)
        assert (response.status, response.body) == (200, b"plain")


def test_client_that_goes_away_is_no_failure_of_the_application(fpm):
    """An aborted download is not a 5xx."""
    with FcgiClient(fpm.address("a.sock")) as client:
        client.send(encode_request(1, make_params("/endless")))
        assert client.socket.recv(4096)
    wait_until(lambda: fpm.pool_status("a")["accepted conn"] == 1)
    assert fpm.pool_status("a")["requests 5xx"] == 0


def test_status_page_that_is_not_built_yet_is_no_failure_of_the_application(fpm):
    """Asking for `?html` answers 501 and counts nothing."""
    assert fetch(fpm.address("a.sock"), "/fpm-status?html").status == 501
    assert fpm.pool_status("a")["requests 5xx"] == 0


def test_request_that_killed_its_worker_is_counted_and_named(fpm):
    """The log says which request ended with the worker, and the counters know of it."""
    mark = fpm.log.mark()
    assert not fetch(fpm.address("a.sock"), "/kill").complete
    fpm.log.wait_for(r"on signal 9 \(SIGKILL\).*while it served 'GET /kill'", since=mark)
    wait_until(lambda: fpm.pool_status("a")["accepted conn"] == 1)
    assert fpm.pool_status("a")["requests 5xx"] == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [("/child-exits", 3), ("/child-returns", 0), ("/child-terminated", -signal.SIGTERM)],
)
def test_child_of_the_application_is_no_second_worker(fpm, path, code):
    """sys.exit, a return and TERM do in a forked child what they do in any Python process."""
    worker = fpm.worker_pids("a")
    with FcgiClient(fpm.address("a.sock")) as client:
        response = client.request(path, keep=True)
        assert (response.complete, response.body) == (True, str(code).encode())
        assert client.request("/plain", keep=True).body == b"plain"
    assert fpm.worker_pids("a") == worker
    os.kill(worker[0], 0)
