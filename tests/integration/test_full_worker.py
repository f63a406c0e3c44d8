"""A worker that is full: which connections it closes, and how often it says so."""

import socket
import time

from harness.bare_worker import BareWorker
from harness.fcgi_client import FcgiClient, make_params

from pyfpm.fastcgi import encode_request
from pyfpm.messages import LogLine

HUNGRY = """
import os, resource

held = []

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fill":
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


def is_closed(end):
    end.settimeout(0.5)
    try:
        return end.recv(1) == b""
    except TimeoutError:
        return False


def test_kept_connections_from_another_worker_are_not_taken_for_silent_ones():
    """A full worker may close who has sent nothing, not what the web server may use at any time."""
    with BareWorker(max_connections=3) as worker:
        ends = []
        for _ in range(3):  # as a worker that drains gives its parked connections away
            ours, theirs = socket.socketpair()
            worker.offer(theirs)
            theirs.close()
            ends.append(ours)
            time.sleep(0.15)
        assert [is_closed(end) for end in ends] == [False] * 3
        for end in ends:
            end.close()


def test_worker_without_descriptors_says_so_at_most_once_a_second():
    """Its master takes whoever says 200 things a second for a flooder, and ends it."""
    request = encode_request(1, make_params("/"), b"", keep_conn=False)
    with BareWorker("hungry:app", files={"hungry.py": HUNGRY}) as worker:
        with worker.client() as client:
            assert client.request("/fill").status == 200
        began_s = time.monotonic()
        waiting = FcgiClient(worker.address)
        for _ in range(100):
            following = FcgiClient(worker.address)
            time.sleep(0.002)
            waiting.send(request)
            assert waiting.response().status == 200
            waiting.close()
            waiting = following
        waiting.close()
        took_s = time.monotonic() - began_s
        lines = [line for line in worker.said(LogLine) if "no descriptors left" in line.message]
        assert 1 <= len(lines) <= 2 + took_s
