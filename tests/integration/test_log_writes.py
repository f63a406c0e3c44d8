"""Many lines in one write: to a pipe, to syslog, and of a worker that prints without a pause."""

import logging
import os
import re
import select
import socket
import sys

import pytest
from harness.fcgi_client import FcgiClient
from harness.machine import wait_until
from harness.master import Pyfpm

from pyfpm.logs import OUTPUT, Level, Log, LogSettings, errorlog, open_log, takes_many_lines
from pyfpm.master.flow import cost_of, cost_of_line

LINES = [f"line {number} of a worker, {'x' * (number % 97)} €" for number in range(500)]


@pytest.fixture
def own_logging():
    root, ours = logging.getLogger(), logging.getLogger("pyfpm")
    before = (root.handlers, root.level, ours.level, logging.raiseExceptions)
    root.handlers = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level, ours.level, logging.raiseExceptions = before
    ours.manager._clear_cache()


def settings(target, *, json=False, limit=1024):
    return LogSettings(target, Level.NOTICE, json=json, limit=limit)


def read_packets(descriptor):
    """What was written, write by write; one of more than PIPE_BUF is several."""
    os.set_blocking(descriptor, False)
    try:
        while True:
            yield os.read(descriptor, 65_536)
    except BlockingIOError:
        return


@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize("event", [OUTPUT, "a"])
def test_write_to_a_pipe_is_one_that_no_other_writer_can_tear(
    own_logging, monkeypatch, event, json
):
    """Workers may have the same pipe for their access log: whole lines, and not too many at once.

    A pipe of packets gives each write back as it was.
    """
    reader, writer = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    with os.fdopen(writer, "w", buffering=1, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        open_log(settings("stderr", json=json))
        Log("shop").write(Level.ALWAYS, event, "\n".join(LINES[:150]), pid=7)
        packets = list(read_packets(reader))
    os.close(reader)
    if json and event == "a":
        return  # one object, as long as it is
    assert 150 // 40 < len(packets) < 150
    assert max(map(len, packets)) <= select.PIPE_BUF
    assert all(packet.endswith(b"\n") for packet in packets)
    written = b"".join(packets).decode().splitlines()
    assert len(written) == 150
    assert all(line in shown for line, shown in zip(LINES, written, strict=False))


def test_line_longer_than_what_a_pipe_takes_at_once_is_written_whole(own_logging, monkeypatch):
    """Nothing of it is lost, and the next one begins anew."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(writer, "w", buffering=1, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        open_log(settings("stderr", limit=20_000))
        long = "0123456789" * 1000
        Log().write(Level.ALWAYS, OUTPUT, f"before\n{long}\nafter")
        written = b"".join(read_packets(reader)).decode().splitlines()
    os.close(reader)
    assert [line.partition("NOTICE: ")[2] for line in written] == ["before", long, "after"]


def test_syslog_gets_a_message_for_each_line_and_each_is_paid_for(own_logging, tmp_path):
    """One of many lines would be shown as one; and each is a system call of the master."""
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        daemon.setblocking(False)
        open_log(settings("stderr"))
        assert takes_many_lines()
        alone, together = cost_of(0, 1), cost_of(0, 5)
        handler = errorlog._Syslog(path)
        handler.setFormatter(own_logging.handlers[0].formatter)
        own_logging.handlers = [handler]
        assert not takes_many_lines()
        Log("shop").write(Level.ALWAYS, OUTPUT, "\n".join(LINES[:5]))
        Log("shop").warning("a", "boot failed\n  frame")
        received = [daemon.recv(65_536).decode() for _ in range(6)]
    for line, shown in zip(LINES, received[:5], strict=False):
        assert re.fullmatch(rf"<\d+>pyfpm: \[.*\] NOTICE: \[pool shop\] {line}\0", shown)
    assert received[5].count("\n") == 1
    assert cost_of(0, 5) == 5 * cost_of(0, 1) == 5 * cost_of_line() == 5 * alone
    assert together < 2 * alone


POOL = """\
[pool:printer]
app = printer:app
listen = %(here)s/printer.sock
pm = static
pm.max_children = 1
{more}
"""
PRINTER = """\
import sys

def app(environ, start_response):
    for number in range(int(environ["QUERY_STRING"])):
        print(f"<{number}>".ljust(79, "x"), file=(sys.stdout, sys.stderr)[number % 2])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
PRINTED = 80_000


@pytest.mark.parametrize("more", ["", "decorate_workers_output = yes"])
def test_tens_of_thousands_of_lines_at_once_are_all_there(more):
    """An application in debug level prints so much; it may have to wait, but nothing is dropped."""
    pool, files = POOL.format(more=more), {"printer.py": PRINTER}
    with Pyfpm(pool, main="error_log = error.log", files=files, wait_ready=False) as fpm:
        wait_until((fpm.folder / "printer.sock").exists, timeout_s=30)
        with FcgiClient(fpm.address("printer.sock"), 60) as client:
            assert client.request(f"/?{PRINTED}").body == b"ok"
        (pid,) = fpm.worker_pids("printer")
        path = fpm.folder / "error.log"
        # What is in the pipes when the worker ends are its last words, and those have a bound.
        wait_until(lambda: path.read_bytes().count(b">xx") >= PRINTED, timeout_s=30)
        log = path.read_text()
    assert "dropped" not in log
    for number, stream in enumerate(("stdout", "stderr")):
        begin = f'child {pid} said into {stream}: "' if more else ""
        form = re.compile(
            rf"^\[[^]]*\] NOTICE: \[pool printer\] {begin}<(\d*[{_digits(number)}])>x+"
        )
        found = [int(match[1]) for line in log.splitlines() if (match := form.match(line))]
        assert found == list(range(number, PRINTED, 2))


def _digits(remainder):
    return "".join(str(digit) for digit in range(remainder, 10, 2))
