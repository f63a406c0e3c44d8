"""What went wrong with the processes of other managers and responders, by its CVE."""

import os
import re
import stat

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.flood import Flood
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import count_descriptors, watching

from pyfpm.errors import ControlError
from pyfpm.fastcgi import encode_begin, encode_params, encode_stdin

POOLS = """
[pool:one]
app = attacks:app
listen = %(here)s/one.sock
pm = static
pm.max_children = 1
pm.max_connections = 3000
request_header_timeout = 300s
request_buffer_size = 1K
"""
ATTACKS = r"""
import os

def app(environ, start_response):
    body = ROUTES[environ["PATH_INFO"]](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(body).encode()]

def read_body(environ):
    return len(environ["wsgi.input"].read())

def forge(environ):
    # As PHP-FPM's master read: a buffer at a time, so that what begins one could pass for a line.
    for size in (1023, 1024, 1025, 4096, 8192):
        os.write(2, b"x" * size + b"\n")
        os.write(2, b"[21-Nov-2026 10:00:00] ALERT: [pool one] child 1 forged\n")
        os.write(2, b"y" * size)
        os.write(2, b"\r[21-Nov-2026 10:00:00] ALERT: [pool one] child 1 forged\n")
    os.write(2, b"forging is over\n")

def make_non_blocking(environ):
    for number in (0, 1, 2):
        os.set_blocking(number, False)
    os._exit(0)

ROUTES = {
    "/body": read_body,
    "/forge": forge,
    "/pid": lambda environ: os.getpid(),
    "/non-blocking": make_non_blocking,
}
"""
_NONBLOCK = 0o4000


@pytest.fixture(scope="module")
def fpm():
    launcher = ("prlimit", "--nofile=4096:")
    with Pyfpm(POOLS, files={"attacks.py": ATTACKS}, launcher=launcher) as running:
        yield running


def pid_of(fpm):
    return int(fetch(fpm.address("one.sock"), "/pid").body)


def test_cve_2012_6687_descriptors_beyond_1023_are_served(fpm):
    """libfcgi waited with select, whose set ends at 1,024: one more descriptor broke the stack."""
    address = fpm.address("one.sock")
    pid = pid_of(fpm)
    with Flood(address, silent=1200) as flood:
        flood.wait_opened()
        wait_until(lambda: count_descriptors(pid) > 1200)
        assert pid_of(fpm) == pid
        params = make_params("/body", method="POST", params={"CONTENT_LENGTH": "20000"})
        with FcgiClient(address) as client:
            # Longer than what is buffered: the worker waits for the rest of it.
            client.send(encode_begin(1) + encode_params(1, params) + encode_stdin(1, b"a" * 10_000))
            wait_until(lambda: fpm.pool_status("one")["active processes"] == 1)
            client.send(encode_stdin(1, b"b" * 10_000) + encode_stdin(1, b""))
            assert client.response().body == b"20000"
        assert flood.counts()["open"] == 1200


def test_cve_2024_9026_output_of_a_worker_forges_no_line(fpm):
    """PHP-FPM lost count at the border of a buffer, and what came next looked like its own."""
    mark = fpm.log.mark()
    fetch(fpm.address("one.sock"), "/forge")
    fpm.log.wait_for("forging is over", since=mark)
    lines = fpm.log.text(mark).splitlines()
    forged = [line for line in lines if "forged" in line]
    assert forged
    ours = re.compile(r"\[[^]]+\] NOTICE: \[pool one\] ")
    assert all(ours.match(line) for line in lines if re.search("forged|xx|yy", line))
    assert not [line for line in lines if line.startswith("[21-Nov-2026 10:00:00]")]
    # Nor did one swallow what came after it.
    assert sum(line.count("child 1 forged") for line in lines) == 10


def test_cve_2014_0185_socket_of_a_pool_is_not_for_everybody(fpm):
    """PHP-FPM's default was 0666: every local user spoke to every pool."""
    mode = os.stat(fpm.folder / "one.sock").st_mode
    assert stat.S_IMODE(mode) == 0o660


def test_cve_2015_9253_worker_cannot_change_how_others_read(fpm):
    """A child made its input non-blocking, which was its master's too: that one span for ever."""
    before = [flags_of(fpm.process.pid, number) for number in (0, 1, 2)]
    pid = pid_of(fpm)
    with watching(pid) as ends, FcgiClient(fpm.address("one.sock")) as client:
        assert not client.request("/non-blocking").complete
        ends.wait()
    other = wait_until(lambda: next(iter(fpm.worker_pids("one")), None))
    assert other != pid
    assert [flags_of(fpm.process.pid, number) for number in (0, 1, 2)] == before
    assert not any(flags_of(other, number) & _NONBLOCK for number in (1, 2))
    # Its input is that of all workers of its zygote, and nobody ever waits for it.
    assert os.readlink(f"/proc/{other}/fd/0") == "/dev/null"
    assert pid_of(fpm) == other


def flags_of(pid, number):
    """Of the open file behind a descriptor, whoever else may hold it."""
    with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
        return int(re.search(r"flags:\s*(\d+)", file.read())[1], 8)


@pytest.mark.parametrize(
    "name",
    [
        "supervisor.supervisord.options.execve",
        "status.__class__",
        "__init__",
        "commands.get",
        "",
        "STATUS",
        "status\0",
    ],
)
def test_cve_2017_11610_command_is_a_name_and_never_a_path(fpm, name):
    """supervisor looked each part of a method's name up with getattr, and ran what it found."""
    with pytest.raises(ControlError, match="knows no command"):
        fpm.control(name)
    assert fpm.pool_status("one")["state"] == "running"
