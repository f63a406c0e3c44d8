"""`wsgiref.validate`, the referee of PEP 3333, between pyfpm and an application."""

import pytest
from harness.fcgi_client import FcgiClient
from harness.master import Pyfpm
from harness.web_servers import Nginx, nginx_site

POOLS = """
[pool:validated]
app = validated:app
listen = %(here)s/validated.sock
pm = static
pm.max_children = 2
"""


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS) as running:
        yield running
        # The referee speaks by exceptions: whatever it found is a traceback in the log.
        assert not running.log.find("Traceback|AssertionError|WSGIWarning")


@pytest.fixture(scope="module")
def nginx(fpm):
    with Nginx(nginx_site({"/": fpm.address("validated.sock")})) as server:
        yield server


REQUESTS = [
    ("GET", "/", None, b"valid"),
    ("HEAD", "/", None, b""),
    ("GET", "/write", None, b"written returned"),
    ("GET", "/stream", None, b"one two three"),
    ("GET", "/errors", None, b"valid"),
    ("GET", "/no-content", None, b""),
    ("GET", "/read", None, b""),
    ("POST", "/read", b"", b""),
    ("POST", "/read", b"x" * 3_000_000, b"x" * 3_000_000),
    ("POST", "/readline", b"one\ntwo\nthree", b"one\ntwo\nthree"),
    ("POST", "/readline", b"line\n" * 300_000, b"line\n" * 300_000),
    ("POST", "/iterate", b"a\n\nb", b"a\n\nb"),
]
IDS = [f"{method}{path}-{len(body or b'')}" for method, path, body, _ in REQUESTS]


@pytest.mark.parametrize(("method", "path", "body", "expected"), REQUESTS, ids=IDS)
def test_the_validator_finds_nothing_behind_nginx(nginx, method, path, body, expected):
    """Every way to read and to answer, with the environ that nginx's parameters make."""
    with nginx.client() as client:
        response = client.request(method, f"{path}?a=b", body)
    assert response.status in (200, 204)
    assert response.body == expected


def test_the_validator_finds_nothing_with_the_fewest_parameters(fpm):
    """A responder may not count on more than the method."""
    left_out = dict.fromkeys(
        (
            "SCRIPT_NAME",
            "CONTENT_TYPE",
            "CONTENT_LENGTH",
            "SERVER_NAME",
            "SERVER_PORT",
            "HTTP_HOST",
        ),
    )
    with FcgiClient(fpm.address("validated.sock")) as client:
        response = client.request("/", params=left_out)
    assert (response.status, response.body) == (200, b"valid")


def test_the_validators_application_writes_into_the_pools_log(fpm):
    """wsgi.errors ends in the log of the pool."""
    mark = fpm.log.mark()
    with FcgiClient(fpm.address("validated.sock")) as client:
        assert client.request("/errors").status == 200
    fpm.log.wait_for(r"\[pool validated\].*validated: a line for the log", since=mark)
