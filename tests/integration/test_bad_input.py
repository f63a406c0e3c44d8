"""Bad input in bulk and in slow motion, and a second master; see test_bad_requests for the rest."""

import contextlib
import os
import re
import socket
import time

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import free_port, wait_until
from harness.master import Pyfpm, run_pyfpm

from pyfpm.fastcgi import encode_begin, encode_params, encode_request, encode_stdin

TCP_PORT = free_port()

POOLS = f"""
[pool:one]
app = torture:app
listen = %(here)s/one.sock
pm = static
pm.max_children = 1
request_header_timeout = 500ms
request_body_timeout = 500ms
request_buffer_size = 10K
request_max_body = 1M

[pool:tcp]
app = torture:app
listen = 127.0.0.1:{TCP_PORT}, %(here)s/tcp.sock
listen.allowed_clients = 127.0.0.2, 10.0.0.0/8
pm = static
pm.max_children = 1
"""


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS, main="error_log = error.log") as running:
        yield running


@pytest.fixture
def address(fpm):
    """The pool's one worker must be the same after each test, whatever it was sent."""
    address = fpm.address("one.sock")
    before = fetch(address, "/pid").body
    yield address
    assert fetch(address, "/pid").body == before


def log_lines(fpm):
    return (fpm.folder / "error.log").read_text().splitlines()


def refusals(fpm, pool="one"):
    return fpm.pool_status(pool)["refusals"]


def test_a_thousand_malformed_streams_close_as_many_connections(fpm, address):
    """All are counted; the log has the first with who sent them, then how many more there were."""
    before, counted = len(log_lines(fpm)), refusals(fpm)["protocol_error"]
    for number in range(1000):
        with FcgiClient(address) as client:
            client.send(bytes([2 + number % 200]) + b"\x01\x00\x01\x00\x08\x00\x00" + bytes(8))
            assert client.is_closed_by_peer()
    assert refusals(fpm)["protocol_error"] == counted + 1000
    more = re.compile(r"WARNING: \[pool one\] (\d+) more refused within 10 s: protocol error$")

    def said() -> list[str] | None:
        found = log_lines(fpm)[before:]
        told = sum(int(match[1]) for line in found if (match := more.search(line)))
        return found if told + sum("child" in line for line in found) == 1000 else None

    lines = wait_until(said, timeout_s=30)
    pid = fetch(address, "/pid").body.decode().strip()
    single = [line for line in lines if "child" in line]
    assert len(lines) < 50
    assert all(f"WARNING: [pool one] child {pid}: protocol error" in line for line in single)
    sender = f"(from pid {os.getpid()} of uid {os.getuid()})"
    assert all(line.endswith(sender) for line in single)


def test_each_reason_has_its_counter_and_its_line(fpm, address):
    """Malformed, meaningless, too large, too late: whoever sent it is named with the pool."""
    before, mark = refusals(fpm), len(log_lines(fpm))

    def send(length, body=b"", *, end=True):
        params = make_params("/length", method="POST", params={"CONTENT_LENGTH": length})
        with FcgiClient(address) as client:
            client.send(encode_begin(1) + encode_params(1, params))
            client.send(encode_stdin(1, body) if body else b"")
            client.send(encode_stdin(1, b"") if end else b"")
            return client.response().status

    assert send("ten") == 400
    assert send("10", b"x" * 5) == 400
    assert send(str(10**9)) == 413
    assert send("1000", b"x" * 500, end=False) == 408
    with FcgiClient(address) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.is_closed_by_peer()
    wanted = {"bad_request": 2, "too_large": 1, "timeout": 1, "protocol_error": 1}
    after = {reason: before[reason] + count for reason, count in wanted.items()}
    wait_until(lambda: refusals(fpm) == after)
    assert fpm.command("status", "one", "--format", "text").stdout.count("\nrefusals: ") == 1
    link = socket.create_connection(("127.0.0.1", TCP_PORT), 5, source_address=("127.0.0.2", 0))
    with link:
        link.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert not link.recv(100)
    peer = r"\(from 127\.0\.0\.2:\d+\)$"
    pattern = re.compile(r"WARNING: \[pool tcp\] child \d+: protocol error, .*" + peer)
    wait_until(lambda: any(map(pattern.search, log_lines(fpm)[mark:])))


def test_malformed_stream_on_a_kept_connection_ends_that_one_alone(address):
    """What was answered before stays answered; other kept connections go on."""
    with FcgiClient(address) as good, FcgiClient(address) as bad:
        assert good.request("/pid", keep=True).complete
        assert bad.request("/pid", keep=True).complete
        bad.send(b"\xff" * 100)
        assert bad.is_closed_by_peer()
        assert good.request("/pid", keep=True).complete


@pytest.mark.parametrize("kept", [False, True])
def test_half_sent_head_is_given_up_after_its_time(address, kept):
    """On a new connection and on a kept one, whose earlier request also came in two pieces."""
    with FcgiClient(address) as client:
        if kept:
            whole = encode_request(1, make_params("/pid"), keep_conn=True)
            client.send(whole[:50])
            assert fetch(address).status == 200  # by now the first piece has been read
            client.send(whole[50:])
            assert client.response().complete
        client.send(encode_begin(1, keep_conn=kept) + encode_params(1, make_params("/"))[:20])
        assert fetch(address).status == 200
        started_s = time.monotonic()
        assert client.is_closed_by_peer()
        assert time.monotonic() - started_s < 2


def test_head_that_comes_byte_by_byte_is_given_up_too(address):
    """Each byte is progress, but the time for the whole head does not start anew."""
    head = encode_begin(1) + encode_params(1, make_params("/", headers={"X": "v" * 400}))
    with FcgiClient(address) as client:
        started_s = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for number in range(len(head)):
                client.send(head[number : number + 1])
                time.sleep(0.02)  # the sender is slow: that is what is tested
        assert client.is_closed_by_peer(0)
        assert 0.4 < time.monotonic() - started_s < 3


def test_body_that_stops_below_the_buffer_is_answered_with_408(address):
    """The client hears why, after request_body_timeout."""
    with FcgiClient(address) as client:
        params = make_params("/length", method="POST", body=b"x" * 1000)
        client.send(encode_begin(1) + encode_params(1, params) + encode_stdin(1, b"x" * 500))
        started_s = time.monotonic()
        assert client.response().status == 408
        assert 0.4 < time.monotonic() - started_s < 2


def test_body_that_stops_while_it_streams_frees_the_worker(fpm, address):
    """The only worker waits for it no longer than request_body_timeout, then serves the next."""
    with FcgiClient(address) as client:
        params = make_params("/sha256", method="POST", body=b"x" * 100_000)
        client.send(encode_begin(1) + encode_params(1, params) + encode_stdin(1, b"x" * 20_000))
        started_s = time.monotonic()
        assert fetch(address, "/pid").status == 200
        assert time.monotonic() - started_s < 2
        assert client.response().status in (408, 500)


def test_client_from_an_allowed_address_is_served(fpm):
    """The same listener refuses one loopback address and serves another."""
    with FcgiClient(f"127.0.0.1:{TCP_PORT}") as refused:
        assert refused.is_closed_by_peer()
    link = socket.create_connection(("127.0.0.1", TCP_PORT), 5, source_address=("127.0.0.2", 0))
    with link:
        link.sendall(encode_request(1, make_params("/pid")))
        assert b"200 OK" in link.recv(65536)
    # Unix sockets of the pool are not concerned.
    assert fetch(fpm.address("tcp.sock"), "/pid").status == 200


def test_refused_clients_in_bulk_leave_the_allowed_one_served(fpm):
    """Each refusal used a wake-up; the worker must take the next connection all the same."""
    for _ in range(200):
        with FcgiClient(f"127.0.0.1:{TCP_PORT}"):
            pass
    assert fetch(fpm.address("tcp.sock"), "/pid").status == 200
    link = socket.create_connection(("127.0.0.1", TCP_PORT), 5, source_address=("127.0.0.2", 0))
    with link:
        link.sendall(encode_request(1, make_params("/pid")))
        assert b"200 OK" in link.recv(65536)


def test_second_master_on_the_same_configuration_is_refused_and_the_first_goes_on(fpm):
    """Neither socket nor pid file nor log is taken from the one that runs."""
    files = {name: (fpm.folder / name).stat().st_ino for name in ("one.sock", "control.sock")}
    done = run_pyfpm("-c", fpm.config, "start")
    assert done.returncode not in (0, 70), done.stderr
    assert str(fpm.folder) in done.stderr
    assert (fpm.folder / "pyfpm.pid").read_text() == f"{fpm.process.pid}\n"
    assert {name: (fpm.folder / name).stat().st_ino for name in files} == files
    assert fpm.control("status")["pyfpm"]["pid"] == fpm.process.pid
    assert fetch(fpm.address("one.sock"), "/pid").status == 200


def test_second_master_with_a_control_socket_of_its_own_is_refused_too(fpm):
    """The sockets of the pools are in use: every one is named with its line, exit 78."""
    other = fpm.folder / "second.conf"
    text = fpm.config.read_text().replace("control.sock", "second.sock")
    other.write_text(text.replace("pyfpm.pid", "second.pid").replace("error.log", "stderr"))
    done = run_pyfpm("-c", other, "start")
    assert done.returncode == 78
    for pool, place in (("one", "one.sock"), ("tcp", f"127.0.0.1:{TCP_PORT}")):
        line = next(n for n, row in enumerate(text.splitlines(), 1) if place in row)
        assert f"{other}:{line}: [pool:{pool}] listen: " in done.stderr
    assert not list(fpm.folder.glob("second.[sp]*"))
    assert fetch(fpm.address("one.sock"), "/pid").status == 200
