"""Rotating the error log under load: rename, reopen, and no line is lost or written twice."""

import os
import re
import signal
from collections import Counter

from harness.machine import wait_until
from harness.master import Pyfpm
from harness.named_requests import NamedRequests

POOL = """\
[pool:printer]
app = printer:app
listen = unix:printer.sock
pm = static
pm.max_children = 3
"""
# One line into each stream a request; the last in two halves, which must come out as one line.
PRINTER = """\
import sys
def app(environ, start_response):
    name = environ["QUERY_STRING"]
    print(f"<out {name}>")
    print(f"<err {name}>", file=sys.stderr, flush=True)
    environ["wsgi.errors"].write(f"<wsgi {name}")
    environ["wsgi.errors"].flush()
    environ["wsgi.errors"].write(">\\n")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ROTATIONS = 20
PAUSE_S = 0.003  # what a pool prints beyond its budget is dropped: see master/flow.py


def test_no_line_is_lost_while_the_log_is_rotated_under_load():
    """By command and by signal, each line is in exactly one file, and the workers stay."""
    with Pyfpm(POOL, main="error_log = pyfpm.log", files={"printer.py": PRINTER}) as fpm:
        log = fpm.folder / "pyfpm.log"
        wait_until(lambda: len(fpm.worker_pids("printer")) == 3)
        workers = fpm.worker_pids("printer")
        old = []
        with NamedRequests(fpm, "printer.sock", b"ok", pause_s=PAUSE_S) as load:
            for number in range(ROTATIONS):
                load.go_on()
                old.append(log.rename(fpm.folder / f"pyfpm.log.{number}"))
                load.go_on()
                if number % 2:
                    os.kill(fpm.process.pid, signal.SIGUSR1)
                    wait_until(log.exists)
                else:
                    assert fpm.control("reopen-logs") == {"files": [str(log)]}
                    size_bytes = old[-1].stat().st_size
                    load.go_on()
                    assert old[-1].stat().st_size == size_bytes
        expected = Counter(
            f"<{stream} {name}>" for name in load.sent for stream in ("out", "err", "wsgi")
        )
        files = [*old, log]

        def found():
            text = "".join(file.read_text() for file in files)
            return Counter(re.findall(r"<[a-z]+ \d+\.\d+>", text))

        wait_until(lambda: found().total() >= expected.total())
        assert found() == expected
        assert fpm.worker_pids("printer") == workers
        for file in files[1:]:
            assert "error log reopened" in file.read_text().splitlines()[0]
        for file in files:
            assert all(line.startswith("[") for line in file.read_text().splitlines())


def test_command_prints_the_file_that_was_reopened():
    """`pyfpm reopen-logs` names what it did; the log says it too."""
    with Pyfpm(POOL, main="error_log = pyfpm.log", files={"printer.py": PRINTER}) as fpm:
        log = fpm.folder / "pyfpm.log"
        log.rename(fpm.folder / "old.log")
        done = fpm.command("reopen-logs")
        assert (done.returncode, done.stdout) == (0, f"{log}\n")
        assert "error log reopened" in log.read_text()


def test_log_that_cannot_be_reopened_fails_the_command_and_stays_in_use():
    """A folder made writable for all is refused; lines go on into the old file."""
    with Pyfpm(POOL, main="error_log = pyfpm.log", files={"printer.py": PRINTER}) as fpm:
        old = (fpm.folder / "pyfpm.log").rename(fpm.folder / "old.log")
        fpm.folder.chmod(0o777)
        done = fpm.command("reopen-logs")
        assert done.returncode == 1
        assert "others can write there" in done.stderr
        fpm.folder.chmod(0o755)
        with fpm.client("printer.sock") as client:
            client.request("/?0.0")
        wait_until(lambda: "<out 0.0>" in old.read_text())
        assert "others can write there" in old.read_text()


def test_master_that_logs_to_stderr_has_nothing_to_reopen():
    """The command says so and is no failure: logrotate scripts call it for every master."""
    with Pyfpm(POOL, files={"printer.py": PRINTER}) as fpm:
        done = fpm.command("reopen-logs")
        assert (done.returncode, done.stdout) == (0, "")
        assert "no log is a file" in done.stderr
