"""What a request leaves behind in its worker, whatever became of its body: nothing.

The environ holds the body, the body its connection, and the connection the environ. Unless the
worker undoes that ring, what had arrived of a body waits for Python's garbage collector, which
counts objects and not bytes: twenty bodies of half a megabyte are nothing to it.
"""

import json

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_begin, encode_params, encode_stdin

APPLICATION = """
import gc
import json

gc.disable()  # what is left behind must not wait for it


def application(environ, start_response):
    if environ["PATH_INFO"] == "/left":
        names = [type(held).__name__ for held in gc.get_objects()]
        left = {name: names.count(name) for name in ("BodyStream", "StreamedBody")}
        body = json.dumps(left).encode()
    elif environ["PATH_INFO"] == "/unread":
        body = b"not read"
    else:
        body = b"%d" % len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

POOLS = """
[pool:left]
app = left:application
listen = %(here)s/left.sock
pm = static
pm.max_children = 1
request_buffer_size = 10K
request_body_timeout = 1s
"""


@pytest.fixture(scope="module")
def address():
    with Pyfpm(POOLS, files={"left.py": APPLICATION}) as running:
        yield running.address("left.sock")


def begin_post(client, path, sent, declared):
    """Send the head of a POST and `sent` bytes of its `declared` ones."""
    params = make_params(path, method="POST", body=b"x" * declared)
    client.send(encode_begin(1) + encode_params(1, params))
    client.send(encode_stdin(1, b"x" * sent))


@pytest.mark.parametrize("path", ["/read", "/unread"])
@pytest.mark.parametrize("ending", ["client leaves", "client stops", "answered in full"])
def test_streamed_body_leaves_nothing_behind_when_its_request_is_over(address, path, ending):
    """However it ended, and without the garbage collector."""
    for _ in range(3):
        with FcgiClient(address) as client:
            whole = ending == "answered in full"
            begin_post(client, path, 60_000 if whole else 50_000, 60_000)
            if whole:
                client.send(encode_stdin(1, b""))
            if ending != "client leaves":
                client.is_closed_by_peer()
    assert json.loads(fetch(address, "/left").body) == {"BodyStream": 0, "StreamedBody": 0}
