"""The main job: every kind of request, through every web server, to every kind of pool.

One configuration with a static pool on a Unix socket, a dynamic one on TCP and an ondemand one on
a Unix socket serves nginx, Apache and lighttpd, with kept and with closed connections.
"""

import hashlib
import socket
import time

import pytest
from harness.machine import free_port
from harness.master import Pyfpm
from harness.web_servers import Apache, Lighttpd, Nginx, apache_site, lighttpd_site, nginx_site

TCP_PORT = free_port()

POOLS = f"""
[pool:static]
app = torture:app
listen = %(here)s/static.sock
pm = static
pm.max_children = 2

[pool:dynamic]
app = torture:app
listen = 127.0.0.1:{TCP_PORT}
mount = /dynamic
pm = dynamic
pm.max_children = 3
pm.min_spare_servers = 1
pm.max_spare_servers = 2
pm.start_servers = 1

[pool:ondemand]
app = torture:app
listen = %(here)s/ondemand.sock
mount = /ondemand
pm = ondemand
pm.max_children = 3
"""

FRONTS = {
    "nginx-kept": lambda routes: Nginx(nginx_site(routes)),
    "nginx-closed": lambda routes: Nginx(nginx_site(routes, kept=False)),
    "nginx-unbuffered": lambda routes: Nginx(nginx_site(routes, request_buffering=False)),
    "apache-kept": lambda routes: Apache(apache_site(routes)),
    "apache-closed": lambda routes: Apache(apache_site(routes, kept=False)),
    "lighttpd": lambda routes: Lighttpd(lighttpd_site(routes)),
}
# These tell a client that a response broke off; the others end it as if it were whole.
SIGNALS_TRUNCATION = {"nginx-kept", "nginx-unbuffered", "apache-kept", "apache-closed"}
PREFIXES = ["", "/dynamic", "/ondemand"]


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS) as running:
        yield running


@pytest.fixture(scope="module", params=FRONTS)
def front(request, fpm):
    """A running web server in front of the three pools."""
    routes = {
        "/": fpm.address("static.sock"),
        "/dynamic": f"127.0.0.1:{TCP_PORT}",
        "/ondemand": fpm.address("ondemand.sock"),
    }
    with FRONTS[request.param](routes) as server:
        server.name = request.param
        yield server


@pytest.fixture
def client(front):
    with front.client() as connected:
        yield connected


@pytest.fixture(params=PREFIXES, ids=["static", "dynamic", "ondemand"])
def prefix(request):
    return request.param


def make_body(size: int) -> bytes:
    """Bytes of every value in no simple order: lost or swapped pieces change the digest."""
    block = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(256))
    return (block * (size // len(block) + 1))[:size]


def split(body: bytes, size: int):
    for start in range(0, len(body), size):
        yield body[start : start + size]


def test_a_get_is_answered(client, prefix):
    """The response has the application's status, headers and body."""
    response = client.get(f"{prefix}/status?code=201")
    assert (response.status, response.body) == (201, b"201\n")
    assert response.header("Content-Type") == "text/plain"


def test_the_application_sees_its_own_path(client, prefix):
    """SCRIPT_NAME is the mount, PATH_INFO the decoded rest, REQUEST_URI is raw."""
    uri = f"{prefix}/environ?a=%20b&c"
    seen = client.get(uri, headers={"X-Some-Header": "value"}).json()
    assert seen["SCRIPT_NAME"] == prefix
    assert seen["PATH_INFO"] == "/environ"
    assert seen["QUERY_STRING"] == "a=%20b&c"
    assert seen["REQUEST_URI"] == uri
    assert seen["HTTP_X_SOME_HEADER"] == "value"
    assert seen["REQUEST_METHOD"] == "GET"
    assert seen["wsgi.multiprocess"] is True


def test_the_host_and_port_of_the_request_arrive(client, front):
    """An application can build the URL that the client used."""
    seen = client.get("/environ").json()
    assert seen["HTTP_HOST"] == f"127.0.0.1:{front.port}"
    assert seen["SERVER_PORT"] == str(front.port)
    assert seen["REMOTE_ADDR"] == "127.0.0.1"


def test_a_proxy_header_never_becomes_http_proxy(client):
    """Whatever the web server does with `Proxy:`, the application does not see it (httpoxy)."""
    assert "HTTP_PROXY" not in client.get("/environ", headers={"Proxy": "evil"}).json()


@pytest.mark.parametrize("size", [0, 1, 8_192, 100_000, (1 << 20) + 1, 5 << 20])
def test_a_body_of_a_known_length_arrives_whole(client, prefix, size):
    """POST with Content-Length, below and above request_buffer_size."""
    body = make_body(size)
    answer = client.post(f"{prefix}/sha256", body).json()
    assert answer == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": size}


@pytest.mark.parametrize("size", [0, 1, 100_000, 3 << 20])
def test_a_chunked_body_arrives_whole(client, prefix, size):
    """POST without Content-Length: the end of STDIN is the end of the body."""
    body = make_body(size)
    answer = client.post(f"{prefix}/sha256", split(body, 7_001)).json()
    assert answer == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": size}


def test_a_body_comes_back_unchanged(client, prefix):
    """A large body both ways, over one kept client connection."""
    body = make_body(2_000_003)
    for _ in range(2):
        assert client.post(f"{prefix}/echo", body).body == body


def test_a_body_that_the_application_ignores_harms_nothing(client, prefix):
    """The answer arrives, and the next request on the same connection is served."""
    for _ in range(3):
        response = client.post(f"{prefix}/ignore-body", make_body(300_000))
        assert (response.status, response.body) == (200, b"ignored\n")
    assert client.get(f"{prefix}/").body == b"torture\n"


def test_two_hundred_megabytes_arrive_whole(front, client):
    """The largest upload of the contract, with whatever buffering the web server does."""
    if front.name in {"nginx-closed", "apache-closed"}:
        pytest.skip("the kept variant of this server does the same")
    piece = make_body(1 << 20)
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(piece)
    pieces = (piece for _ in range(200))
    length = {"Content-Length": str(200 << 20)}
    answer = client.request("POST", "/sha256", pieces, headers=length).json()
    assert answer == {"sha256": digest.hexdigest(), "bytes": 200 << 20}


def test_a_head_request_has_no_body(client, front, prefix):
    """The body that the application sends for HEAD is dropped, the connection stays usable."""
    for _ in range(2):
        response = client.request("HEAD", f"{prefix}/head")
        assert (response.status, response.body) == (200, b"")
        if front.name.startswith("nginx"):
            assert response.header("Content-Length") == "1000"
    assert len(client.get(f"{prefix}/head").body) == 1000


@pytest.mark.parametrize("code", [204, 304])
def test_a_status_without_body_has_none(client, prefix, code):
    """204 and 304 end with their head, and the next response is not mixed up with them."""
    response = client.get(f"{prefix}/status?code={code}")
    assert (response.status, response.body) == (code, b"")
    assert client.get(f"{prefix}/").body == b"torture\n"


def test_a_body_in_a_204_is_dropped(client, prefix):
    """An application's mistake does not become the next response's first bytes."""
    assert client.get(f"{prefix}/body-in-204").body == b""
    assert client.get(f"{prefix}/").body == b"torture\n"


@pytest.mark.parametrize("code", [200, 201, 206, 400, 401, 403, 404, 418, 500, 503])
def test_the_status_of_the_application_reaches_the_client(client, code):
    """Any status, with the body that belongs to it."""
    response = client.get(f"/status?code={code}")
    assert (response.status, response.body) == (code, f"{code}\n".encode())


def test_repeated_headers_stay_apart(client, prefix):
    """Three Set-Cookie headers arrive as three, and the cookies sent arrive as one."""
    response = client.get(f"{prefix}/cookies", headers={"Cookie": "x=1; y=2"})
    assert response.all_headers("Set-Cookie") == ["a=1; Path=/", "b=2; Path=/", "c=3; Path=/"]
    assert response.body == b"x=1; y=2"


def test_a_redirect_reaches_the_client(client, prefix):
    """A Location header without a body is no invitation to the web server to act on it."""
    response = client.get(f"{prefix}/redirect")
    assert response.status == 302
    assert response.header("Location").endswith("/elsewhere")


def test_a_large_response_arrives_whole(client, prefix):
    """Many records, split below the 65,536 bytes that one can hold."""
    response = client.get(f"{prefix}/big?mb=20")
    assert len(response.body) == 20 << 20
    assert response.body.count(b"\xaa") == 20 << 20


def test_every_way_to_send_a_body_works(client, prefix):
    """write(), generators that start late, empty pieces and wsgi.file_wrapper."""
    assert client.get(f"{prefix}/write").body == b"written twice, then returned\n"
    assert client.get(f"{prefix}/late-start").body == b"late\n"
    assert client.get(f"{prefix}/empty-pieces").body == b"ab"
    assert client.get(f"{prefix}/file?size=500000").body == b"0123456789" * 50_000
    assert client.get(f"{prefix}/file?size=100&from=95").body == b"56789"


def test_a_streamed_response_arrives_piece_by_piece(front, prefix):
    """The first piece reaches the client while the application still makes the last."""
    request = f"GET {prefix}/stream?n=3&size=20000&delay=0.3 HTTP/1.0\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", front.port), 20) as link:
        link.sendall(request)
        received = link.recv(1 << 16)
        while b"aaaa" not in received:
            received += link.recv(1 << 16)
        first = time.monotonic()
        while part := link.recv(1 << 16):
            received += part
        elapsed = time.monotonic() - first
    assert elapsed > 0.3, "everything came at once"
    assert received.endswith(b"c" * 20_000)
    assert received.count(b"b") >= 20_000


def test_an_exception_is_a_500(client, prefix):
    """Before the first byte a failure is a clean error page, without the traceback."""
    for path in ("/error", "/error-after-start"):
        response = client.get(f"{prefix}{path}")
        assert response.status == 500
        assert b"torture:" not in response.body
    assert client.get(f"{prefix}/").status == 200


def test_an_error_page_by_exc_info_replaces_the_head(client, prefix):
    """start_response with exc_info before the first byte."""
    response = client.get(f"{prefix}/exc-info")
    assert (response.status, response.body) == (503, b"replaced\n")


def test_a_response_that_breaks_off_is_not_completed(client, front, prefix):
    """After the first byte a failure is a truncated response, never one that looks whole."""
    response = client.get(f"{prefix}/error-late?n=5000")
    assert response.status == 200
    assert response.body.startswith(b"the first piece\n" if response.body else b"")
    if front.name in SIGNALS_TRUNCATION:
        assert response.truncated
    assert client.get(f"{prefix}/").body == b"torture\n"


def test_a_bad_header_never_reaches_the_client(client, prefix):
    """A line break in a header is refused as a whole: no response splitting."""
    response = client.get(f"{prefix}/bad-header")
    assert response.status == 500
    assert response.header("X-Injected") is None


def test_many_requests_on_one_connection_are_all_answered(client, prefix):
    """A kept client connection alternates between methods and sizes."""
    for number in range(50):
        body = make_body(number * 997)
        assert client.post(f"{prefix}/length", body).json()["read"] == len(body)
        assert client.get(f"{prefix}/").body == b"torture\n"
