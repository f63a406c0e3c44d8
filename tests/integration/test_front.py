"""The embedded front end against responders that behave and misbehave, byte by byte."""

import hashlib
import http.client
import os
import select
import signal
import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from pyfpm.config.addresses import UnixAddress
from pyfpm.fastcgi import (
    Begin,
    Params,
    ServerConnection,
    Stdin,
    StdinEnd,
    encode_end,
    encode_end_request,
    encode_response,
    encode_stdout,
)
from pyfpm.front import bind_http, find_front_user, start_front


class Responder:
    """A FastCGI responder in a thread: `answer(socket, params, body chunks)` writes the reply."""

    def __init__(self, path, answer):
        self.answer = answer
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            request = Request(connection)
            with suppress(OSError):  # the front end hangs up in some tests
                self.answer(request)


class Request:
    """What arrived on one connection; `body()` yields the pieces of STDIN."""

    def __init__(self, connection):
        self.socket = connection
        self._server = ServerConnection()
        self._events = []
        begin, params = self._next(), self._next()
        assert isinstance(begin, Begin)
        assert isinstance(params, Params)
        self.params = dict(params.pairs)

    def _next(self):
        while not self._events:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("closed")
            self._events = list(self._server.receive(data))
        return self._events.pop(0)

    def body(self):
        while not isinstance(event := self._next(), StdinEnd):
            assert isinstance(event, Stdin)
            yield event.data

    def send(self, *pieces):
        for piece in pieces:
            self.socket.sendall(piece)

    def send_stdout(self, data):
        self.send(*encode_stdout(1, data))

    def reply(self, head, body=b""):
        self.send(encode_response(1, head, body))


@pytest.fixture
def folder(tmp_path_factory):
    """A folder that the front end's user can reach."""
    path = f"/tmp/pyfpm-front-{os.getpid()}"
    os.mkdir(path)
    os.chmod(path, 0o711)
    yield path
    for name in os.listdir(path):
        os.unlink(f"{path}/{name}")
    os.rmdir(path)


@contextmanager
def running_front(path):
    """The front end in its process; yields (host, port); ended with SIGTERM."""
    sock = bind_http("127.0.0.1", 0)
    address = sock.getsockname()
    front = start_front(sock, UnixAddress(path), app="hello:app", user=find_front_user(), workers=2)
    try:
        yield address, front
    finally:
        os.kill(front.pid, signal.SIGTERM)
        _, status = os.waitpid(front.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


@contextmanager
def front_to(folder, answer):
    """The front end before a responder; yields an HTTP connection."""
    responder = Responder(f"{folder}/pool.sock", answer)
    with running_front(f"{folder}/pool.sock") as (address, _):
        connection = http.client.HTTPConnection(*address, timeout=10)
        yield connection
        connection.close()
    responder.listener.close()


def raw_get(connection, version="1.1"):
    """A GET over a plain socket: everything received, and whether the end was a reset."""
    with socket.create_connection((connection.host, connection.port), 10) as sock:
        sock.sendall(f"GET / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        received = b""
        try:
            while data := sock.recv(65536):
                received += data
        except ConnectionResetError:
            return received, True
        return received, False


def test_request_is_forwarded_and_its_answer_returned(folder):
    """Method, URI, headers and body arrive; status, headers and body come back."""

    def answer(request):
        body = b"".join(request.body())
        seen = b"%s %s %s %s" % (
            request.params[b"REQUEST_METHOD"],
            request.params[b"REQUEST_URI"],
            request.params[b"HTTP_X_COLOUR"],
            body,
        )
        request.reply(
            b"Status: 201 Created\r\nX-Seen: yes\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(seen),
            seen,
        )

    with front_to(folder, answer) as connection:
        connection.request("POST", "/a%2Fb?c=d", b"hello", {"X-Colour": "blue"})
        response = connection.getresponse()
        assert (response.status, response.reason) == (201, "Created")
        assert response.headers["X-Seen"] == "yes"
        assert response.headers["Connection"] is None
        assert response.read() == b"POST /a%2Fb?c=d blue hello"


def test_large_bodies_pass_in_both_directions_at_once(folder):
    """A responder that streams its answer while it reads the request does not block anybody."""

    def echo(request):
        request.send_stdout(b"Status: 200 OK\r\n\r\n")
        for piece in request.body():
            request.send_stdout(piece)
        request.send(encode_end(1))

    body = os.urandom(1 << 20) * 20
    with front_to(folder, echo) as connection:
        connection.request("POST", "/", body)
        response = connection.getresponse()
        assert hashlib.sha256(response.read()).digest() == hashlib.sha256(body).digest()


def test_early_refusal_of_a_large_body_reaches_the_client(folder):
    """A 413 sent before the body was read is the answer, not an error of the front end."""

    def refuse(request):
        request.reply(b"Status: 413 Content Too Large\r\nContent-Length: 4\r\n\r\n", b"big\n")
        request.socket.shutdown(socket.SHUT_RDWR)

    with front_to(folder, refuse) as connection:
        connection.request("POST", "/", b"x" * 5_000_000)
        response = connection.getresponse()
        assert (response.status, response.read()) == (413, b"big\n")


def test_head_request_has_no_body(folder):
    """The length of a HEAD's answer is passed on, a body is not."""
    with front_to(
        folder,
        lambda request: request.reply(b"Status: 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello"),
    ) as connection:
        connection.request("HEAD", "/")
        response = connection.getresponse()
        assert response.headers["Content-Length"] == "5"
        assert response.read() == b""


def test_location_alone_is_a_redirect(folder):
    """As every web server does with CGI output."""
    with front_to(folder, lambda request: request.reply(b"Location: /x\r\n\r\n")) as connection:
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, response.headers["Location"]) == (302, "/x")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        encode_end_request(1),
        encode_end_request(1, 0, 2),
        b"".join(encode_stdout(1, b"no head at all")) + encode_end(1),
        b"".join(encode_stdout(1, b"Status: 200 OK\r\n\r\n")),
        b"".join(encode_stdout(2, b"Status: 200 OK\r\n\r\n")),
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["closed", "only-end", "overloaded", "no-head", "no-body-no-end", "other-id", "http"],
)
def test_failure_before_the_first_byte_is_a_502_page(folder, broken, capfd):
    """Whatever the responder did instead of answering: one page for the client, one log line."""
    with front_to(folder, lambda request: request.send(broken)) as connection:
        connection.request("GET", "/broken")
        response = connection.getresponse()
        assert response.status == 502
        assert response.headers["Content-Type"].startswith("text/plain")
        assert b"Bad Gateway" in response.read()
    log = capfd.readouterr().err.splitlines()
    assert len(log) == 1
    assert "ERROR: front: GET /broken: " in log[0]


def cut_off_chunked(request):
    request.send_stdout(b"Status: 200 OK\r\n\r\nbeginning")


def cut_off_with_length(request):
    request.send_stdout(b"Status: 200 OK\r\nContent-Length: 100\r\n\r\nbeginning")


def test_cut_off_chunked_response_lacks_its_last_chunk(folder, capfd):
    """The client of HTTP/1.1 sees the truncation, and the log says so in one line."""
    with front_to(folder, cut_off_chunked) as connection:
        received, _ = raw_get(connection)
        assert b"chunked" in received
        assert b"beginning" in received
        assert not received.endswith(b"0\r\n\r\n")
        connection.request("GET", "/")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()
    log = capfd.readouterr().err.splitlines()
    assert len(log) == 2
    assert "cut off" in log[0]


def test_cut_off_response_with_length_lacks_bytes(folder):
    """The client sees fewer bytes than the length it was told."""
    with front_to(folder, cut_off_with_length) as connection:
        connection.request("GET", "/")
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()


def test_cut_off_response_to_http_1_0_ends_in_a_reset(folder):
    """Without length and chunks only the way the connection ends can tell."""
    with front_to(folder, cut_off_chunked) as connection:
        assert raw_get(connection, "1.0")[1] is True
    os.unlink(f"{folder}/pool.sock")
    with front_to(folder, lambda r: r.reply(b"Status: 200 OK\r\n\r\n", b"whole")) as connection:
        received, was_reset = raw_get(connection, "1.0")
        assert received.endswith(b"whole")
        assert was_reset is False


def test_client_that_leaves_ends_the_request_at_the_responder(folder):
    """A client that hangs up in the middle of a response closes the responder's connection."""
    hung_up = threading.Event()

    def endless(request):
        try:
            request.send_stdout(b"Status: 200 OK\r\n\r\n")
            while True:
                request.send_stdout(b"x" * 65536)
        except OSError:
            hung_up.set()

    with front_to(folder, endless) as connection:
        with socket.create_connection((connection.host, connection.port), 10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.recv(65536)
        assert hung_up.wait(10)


def test_pool_that_does_not_listen_yet_is_a_503(folder):
    """Before the master is up, a client is asked to come again; afterwards it is a 502."""
    with running_front(f"{folder}/pool.sock") as (address, _):
        connection = http.client.HTTPConnection(*address, timeout=10)
        connection.request("GET", "/")
        response = connection.getresponse()
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert b"starting" in response.read()
        responder = Responder(f"{folder}/pool.sock", lambda r: r.reply(b"Status: 204 No\r\n\r\n"))
        connection.request("GET", "/")
        assert connection.getresponse().status == 204
        responder.listener.shutdown(socket.SHUT_RDWR)
        responder.listener.close()
        connection.close()
        connection.request("GET", "/")
        assert connection.getresponse().status == 502
        connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes user")
def test_front_end_of_root_is_an_unprivileged_process(folder):
    """All four uids are nobody's, no groups are left, and no exec can gain privileges."""
    groups = os.getgroups()
    os.setgroups([4, 24])  # something to give up
    try:
        with running_front(f"{folder}/pool.sock") as (address, front):
            connection = http.client.HTTPConnection(*address, timeout=10)
            connection.request("GET", "/")  # answered: the process is past its preparations
            connection.getresponse().read()
            connection.close()
            with open(f"/proc/{front.pid}/status") as status:
                facts = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    finally:
        os.setgroups(groups)
    nobody = find_front_user()
    assert facts["Uid"].split() == [str(nobody.uid)] * 4
    assert facts["Gid"].split() == [str(nobody.gid)] * 4
    assert facts["Groups"].split() == []
    assert facts["NoNewPrivs"] == "1"


def test_front_end_ends_with_its_parent(folder):
    """A parent that is killed does not leave a front end behind."""
    read_end, write_end = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            sock = bind_http("127.0.0.1", 0)
            front = start_front(
                sock, UnixAddress(f"{folder}/x"), app="hello:app", user=find_front_user(), workers=1
            )
            os.write(write_end, f"{front.pid} {front.url}".encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(write_end)
    pid, url = os.read(read_end, 100).decode().split()
    os.close(read_end)
    pidfd = os.pidfd_open(int(pid))
    try:
        connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 503
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        assert select.select([pidfd], [], [], 10)[0]
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def test_http_address_in_use_is_an_error_at_once():
    """Binding happens before anything is started."""
    with bind_http("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        bind_http(*first.getsockname())
