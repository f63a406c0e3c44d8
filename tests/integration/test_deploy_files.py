"""The files of deploy/, as shipped but for the address of the pool and the port."""

import re

import pytest
from harness.master import Pyfpm
from harness.web_servers import Apache, Lighttpd, Nginx, deployed_site

POOLS = """
[pool:hello]
app = torture:app
listen = %(here)s/hello.sock
pm = static
pm.max_children = 2
"""

SERVERS = {
    "nginx": (Nginx, "nginx/site.conf"),
    "apache": (Apache, "apache/pyfpm.conf"),
    "lighttpd": (Lighttpd, "lighttpd/pyfpm.conf"),
}
# lighttpd's configuration has no variable for the time of the request.
REQUEST_START = {"nginx": r"\d{10}\.\d{3}", "apache": r"t=\d{16}"}


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS) as running:
        yield running


@pytest.fixture(scope="module", params=SERVERS)
def front(request, fpm):
    """A web server with a shipped site file."""
    kind, file = SERVERS[request.param]
    with kind(deployed_site(file, fpm.address("hello.sock"))) as server:
        server.name = request.param
        yield server


@pytest.fixture
def client(front):
    with front.client() as connected:
        yield connected


def test_the_shipped_site_serves_requests_and_uploads(client):
    """GET, POST with a length and chunked, and a page that does not exist."""
    assert client.get("/status?code=200").body == b"200\n"
    assert client.post("/echo", b"x" * 3_000_000).body == b"x" * 3_000_000
    assert client.post("/echo", iter([b"one ", b"two"])).body == b"one two"
    assert client.get("/nowhere").status == 404


def test_the_shipped_site_gives_the_application_what_it_needs(client, front):
    """The path is PATH_INFO, the host has its port, credentials arrive, `Proxy:` does not."""
    headers = {"Authorization": "Basic YTpi", "Proxy": "evil", "X-Request-Start": "forged"}
    seen = client.get("/environ?a=b%20c", headers).json()
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/environ")
    assert seen["QUERY_STRING"] == "a=b%20c"
    assert seen["REQUEST_URI"] == "/environ?a=b%20c"
    assert seen["HTTP_HOST"] == f"127.0.0.1:{front.port}"
    assert seen["SERVER_PORT"] == str(front.port)
    assert seen["SERVER_NAME"]
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["HTTP_AUTHORIZATION"] == "Basic YTpi"
    assert "HTTP_PROXY" not in seen
    assert seen.get("HTTPS", "off") == "off"
    assert not seen["SCRIPT_FILENAME"].startswith("proxy:")


def test_the_shipped_site_says_when_the_request_came(client, front):
    """REQUEST_START is there, in one of the two forms, and no client can forge it."""
    seen = client.get("/environ", {"X-Request-Start": "t=1", "Request-Start": "1"}).json()
    if front.name in REQUEST_START:
        assert re.fullmatch(REQUEST_START[front.name], seen["REQUEST_START"])
    else:
        assert "REQUEST_START" not in seen


def test_the_shipped_site_keeps_its_connections(client, front, fpm):
    """After a request a connection stays parked at the pool, where the server can keep one."""
    client.get("/")
    parked = fpm.status("hello")["parked connections"]
    if front.name == "lighttpd":
        return
    assert parked >= 1


def test_the_shipped_site_reports_a_response_that_broke_off(client, front):
    """A failure midway is a truncated response for the client, not one that looks whole."""
    response = client.get("/error-late?n=5000")
    if front.name != "lighttpd":
        assert response.truncated
    assert client.get("/").status == 200
