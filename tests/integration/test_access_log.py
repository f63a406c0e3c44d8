"""The lines of the access log of a running service: who gets one, and what stands in it."""

import re
import time

import pytest
from harness.access_log import make_pool, start, wait_for_lines
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import temporary_folder
from harness.master import Pyfpm
from harness.web_servers import Nginx, nginx_site

from pyfpm.fastcgi import encode_request


def send_half(fpm, uri, params=None):
    """A request whose body has not come; the connection is the caller's."""
    client = fpm.client("web.sock")
    pairs = make_params(uri, method="POST", body=b"x" * 10, params=params)
    whole = encode_request(1, pairs, b"x" * 10)
    client.send(whole[:-16])
    return client


def test_every_way_to_end_has_a_line_with_what_was_sent():
    """Answers, failures, refusals, broken responses, pages of the pool; no request is left out."""
    more = (
        "request_max_body = 1000\nping.path = /ping\npm.status_path = /fpm\n"
        "request_terminate_timeout = 2s\nrecycle_after_timeout = no\nrequest_queue_timeout = 10s\n"
        "request_body_timeout = 2s\nrequest_header_timeout = 2s\n"
    )
    with start(more) as fpm:
        address = fpm.address("web.sock")
        fetch(address, "/")
        fetch(address, "/", method="HEAD")
        fetch(address, "/nowhere?a=b")
        fetch(address, "/echo", method="POST", body=b"hello")
        fetch(address, "/stream?n=3&size=10")
        fetch(address, "/file?size=100000")
        fetch(address, "/write")
        fetch(address, "/error")
        assert not fetch(address, "/error-late?n=2").complete
        fetch(address, "/ping")
        page = fetch(address, "/fpm")
        fetch(address, "/big", method="POST", body=b"x" * 1001)
        fetch(address, "/", params={"REQUEST_METHOD": None})
        fetch(address, "/sleep?s=30")
        fetch(address, "/", params={"REQUEST_START": str(time.time() - 60)})
        with send_half(fpm, "/echo?late") as late:
            assert late.response().status == 408
        expected = {
            "GET / 200 8",
            "HEAD / 200 0",
            "GET /nowhere?a=b 404 14",
            "POST /echo 200 5",
            "GET /stream?n=3&size=10 200 30",
            "GET /file?size=100000 200 100000",
            "GET /write 200 29",
            "GET /error 500 22",
            "GET /error-late?n=2 200 32",
            "GET /ping 200 4",
            f"GET /fpm 200 {len(page.body)}",
            "GET /sleep?s=30 504 16",
        }
        lines = wait_for_lines(fpm.folder / "access.log", 16)
        assert expected - set(lines) == set()
        rest = [re.sub(r" \d+$", "", line) for line in lines if line not in expected]
        assert sorted(rest) == ["- - 400", "GET / 503", "POST /big 413", "POST /echo?late 408"]


def test_client_that_went_away_has_a_line():
    """With the status that was on its way to it."""
    with start() as fpm:
        client = FcgiClient(fpm.address("web.sock"))
        client.send(encode_request(1, make_params("/big?mb=64"), b""))
        client.socket.recv(1000)
        client.close()
        (line,) = wait_for_lines(fpm.folder / "access.log", 1)
        assert re.fullmatch(r"GET /big\?mb=64 200 0", line)


def test_request_that_killed_its_worker_has_none():
    """Nobody is left to write it; the error log names the request instead."""
    with start() as fpm:
        fetch(fpm.address("web.sock"), "/kill")
        fpm.log.wait_for("GET /kill")
        fetch(fpm.address("web.sock"), "/")
        assert wait_for_lines(fpm.folder / "access.log", 1) == ["GET / 200 8"]


def test_child_that_an_application_forks_writes_nothing():
    """And cannot: the log is closed in it."""
    app = """\
import os
import torture
def app(environ, start_response):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        links = []
        for number in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                pass  # the folder's own
        os.write(writer, repr([link for link in links if link.endswith(".log")]).encode())
        return torture.reply(start_response, b"of the child")
    os.waitpid(child, 0)
    return torture.reply(start_response, os.read(reader, 1000))
"""
    with Pyfpm(make_pool(app="forking:app"), files={"forking.py": app}) as fpm:
        assert fetch(fpm.address("web.sock")).body == b"[]"
        assert wait_for_lines(fpm.folder / "access.log", 1) == ["GET / 200 2"]


def test_application_that_closes_descriptors_finds_no_line_in_its_own_files():
    """A number that it freed and got again must not be the one that lines are written to."""
    app = """\
import os
def app(environ, start_response):
    path = os.environ["HOME_OF_DATA"]
    os.closerange(3, 200)
    numbers = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for _ in range(20)]
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""
    with temporary_folder() as folder:
        folder.chmod(0o777)
        pool = make_pool(f"env[HOME_OF_DATA] = {folder}/data", app="careless:app")
        with Pyfpm(pool, files={"careless.py": app}) as fpm:
            fetch(fpm.address("web.sock"))
            fpm.log.wait_for("closed descriptors of its worker")
            assert b"GET / 200" not in (folder / "data").read_bytes()


def test_suppressed_paths_have_lines_only_for_what_is_unusual():
    """A health check every second is no news, until it fails."""
    more = "access.suppress_path[] = /ping\naccess.suppress_path[] = /error\nping.path = /ping"
    with start(more) as fpm:
        for uri in ("/ping", "/ping?full", "/error", "/"):
            fetch(fpm.address("web.sock"), uri)
        lines = wait_for_lines(fpm.folder / "access.log", 3)
        assert sorted(lines) == ["GET / 200 8", "GET /error 500 22", "GET /ping?full 200 4"]


def test_lines_of_a_web_server_in_the_combined_format_can_be_read_by_anybody():
    """Real nginx: what it passes on is in its place, and nobody forges a field."""
    site = "/"
    with start(form="combined") as fpm, Nginx(nginx_site({site: fpm.address("web.sock")})) as nginx:
        with nginx.client() as client:
            headers = {"User-Agent": 'x" 200 "-" "y', "Referer": "http://r/\\"}
            assert client.request("GET", "/echo?a=%22b", headers=headers).status == 200
            client.request("POST", "/echo", b"12345", headers={"User-Agent": "plain (agent)"})
        lines = wait_for_lines(fpm.folder / "access.log", 2)
        time_form = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
        forms = (
            r'"GET /echo\?a=%22b HTTP/1\.1" 200 0 "http://r/\\x5C" "x\\x22 200 \\x22-\\x22 \\x22y"',
            r'"POST /echo HTTP/1\.1" 200 5 "-" "plain \(agent\)"',
        )
        for line, form in zip(lines, forms, strict=True):
            assert re.fullmatch(rf"127\.0\.0\.1 - - {time_form} {form}", line), line


LONG_BODIES = """\
import tempfile

SIZE = 1_000_003

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    path = environ["PATH_INFO"]
    if path == "/list":
        return [b"x" * 100_000] * 10 + [b"abc"]
    if path == "/pieces":
        return iter([b"x" * 1_000_000, b"abc"])
    with tempfile.NamedTemporaryFile() as written:
        written.write(b"x" * SIZE)
        written.flush()
        return environ["wsgi.file_wrapper"](open(written.name, "rb"))
"""


@pytest.mark.parametrize("path", ["/list", "/pieces", "/file"])
def test_all_bytes_of_a_long_body_are_counted(path):
    """However it leaves: in groups of records, in pieces, or by sendfile."""
    pool = make_pool(app="long:app", form="%s %b")
    with Pyfpm(pool, files={"long.py": LONG_BODIES}) as fpm:
        assert len(fetch(fpm.address("web.sock"), path).body) == 1_000_003
        assert wait_for_lines(fpm.folder / "access.log", 1) == ["200 1000003"]
