"""Many workers of many pools that talk and print without end: what it costs all the others."""

import contextlib
import re

import pytest
from harness.fcgi_client import fetch
from harness.hostile_app import CONTROLS
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import busy_share

BAD = """
[pool:bad{number}]
app = talkers:app
listen = %(here)s/bad{number}.sock
pm = static
pm.max_children = {workers}
process.priority = 10
worker_hung_timeout = 0
"""

GOOD = """
[pool:good]
app = tracebacks:app
listen = %(here)s/good.sock
pm = static
pm.max_children = 8
"""

TALKERS = """\
import threading, time

WORDS = {
    "saturated": b'{"kind":"Saturated","pending":1}',
    "log": b'{"kind":"LogLine","level":"error","message":"' + b"x" * 8000 + b'"}',
}
WHAT = %r

def talk():
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "go")):
        time.sleep(0.05)
    link = next(controls())
    link.setblocking(True)
    while True:
        try:
            if WHAT in WORDS:
                for _ in range(19):  # just below what ends a sender
                    link.send(WORDS[WHAT])
                time.sleep(0.1)
            elif WHAT == "lines":
                os.write(1, b"\\n" * 65536)
            else:
                os.write(1, b".")
                time.sleep(0.002)
        except OSError:
            return

os.register_at_fork(after_in_child=lambda: threading.Thread(target=talk, daemon=True).start())

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"x"]
"""

LINES = 50
TRACEBACKS = """\
import os, sys
from torture import app

def print_all():
    sys.stderr.write("".join(f"frame {number} of {os.getpid()}\\n" for number in range(%d)))
    sys.stderr.flush()

os.register_at_fork(after_in_child=print_all)
"""

PRINTED = 2000
LEAVING = """\
import atexit, os

def leave():
    os.write(1, "".join(f"noise {number:04}\\n" for number in range(%d)).encode())
    os.write(2, f"Traceback of {os.getpid()}\\n  frame\\nValueError: of {os.getpid()}\\n".encode())

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"x"]

def forked():
    atexit.unregister(leave)  # of the process between the zygote and this worker
    atexit.register(leave)

os.register_at_fork(after_in_child=forked)
"""


def running(what, pools, workers):
    text = "".join(BAD.format(number=number, workers=workers) for number in range(pools))
    files = {"talkers.py": CONTROLS + TALKERS % what, "tracebacks.py": TRACEBACKS % LINES}
    return Pyfpm(text + GOOD, main="error_log = error.log", files=files, wait_ready=False)


def wait_all(fpm, pools, workers):
    def up():
        statuses = fpm.control("status")["pools"]
        return all(statuses[f"bad{n}"]["idle processes"] == workers for n in range(pools))

    wait_until((fpm.folder / "control.sock").exists)
    wait_until(up, timeout_s=60)


def frames(fpm):
    """How many lines of each worker of the good pool are in the log."""
    found = {}
    for line in (fpm.folder / "error.log").read_text(errors="replace").splitlines():
        if "[pool good] frame " in line:
            pid = line.rpartition(" ")[2]
            found[pid] = found.get(pid, 0) + 1
    return found


@pytest.mark.parametrize("what", ["saturated", "log", "lines", "dots"])
@pytest.mark.parametrize(("pools", "workers"), [(1, 40), (20, 2)])
def test_floods_of_many_workers_and_pools_cost_the_others_nothing(what, pools, workers):
    """Status, requests and a reload of another pool go on, and its tracebacks are all there."""
    with running(what, pools, workers) as fpm:
        wait_all(fpm, pools, workers)
        (fpm.app / "go").touch()
        assert busy_share(fpm.process.pid, 2.0) < 0.7
        for _ in range(5):
            assert fetch(fpm.address("good.sock"), "/pid").status == 200
        before = set(fpm.worker_pids("good"))
        assert fpm.command("restart", "good").returncode == 0
        after = set(map(str, fpm.worker_pids("good")))
        assert len(after) == 8
        assert not after & set(map(str, before))
        wait_until(lambda: all(frames(fpm).get(pid) == LINES for pid in after), timeout_s=30)
        log = (fpm.folder / "error.log").read_text(errors="replace")
        assert "[pool good] child" not in log
        assert fpm.command("stop", "--now").returncode == 0


@contextlib.contextmanager
def printing_at_the_end():
    """A pool of twelve whose workers say more at their end than there is budget for.

    What one prints fits into its pipes, so it has said it all.
    """
    pool = GOOD.replace("tracebacks", "leaving").replace("children = 8", "children = 12")
    files = {"leaving.py": LEAVING % PRINTED}
    with Pyfpm(pool, main="error_log = error.log", files=files, wait_ready=False) as fpm:
        wait_until((fpm.folder / "control.sock").exists)
        wait_until(lambda: fpm.pool_status("good")["idle processes"] == 12, timeout_s=30)
        yield fpm


def accounted_for(log):
    """How many lines the log has, or says to be dropped."""
    dropped = re.findall(r"(\d+) lines? \(\d+ bytes\) of output", log)
    written = re.findall(r"\[pool good\] (?:noise|Traceback|  frame|ValueError)", log)
    return len(written) + sum(map(int, dropped))


def test_last_words_are_written_or_counted_when_everything_stops_at_once():
    """Twelve workers end, and then the master: their tracebacks are there."""
    with printing_at_the_end() as fpm:
        pids = fpm.worker_pids("good")
        fpm.stop()
        log = (fpm.folder / "error.log").read_text()
    for pid in pids:
        assert f"ValueError: of {pid}\n" in log
    assert accounted_for(log) == 12 * (PRINTED + 3)


def test_last_words_are_written_or_counted_by_a_master_that_is_upgraded():
    """What waits when the new code takes over is in no pipe any more."""
    with printing_at_the_end() as fpm:
        pids = set(fpm.worker_pids("good"))
        assert fpm.command("restart", "good").returncode == 0
        pids.update(fpm.worker_pids("good"))
        assert fpm.command("upgrade").returncode == 0
        wait_until(lambda: fpm.pool_status("good")["idle processes"] == 12, timeout_s=30)
        pids.update(fpm.worker_pids("good"))
        fpm.stop()
        log = (fpm.folder / "error.log").read_text()
    assert len(pids) == 36
    for pid in pids:
        assert f"ValueError: of {pid}\n" in log
    assert accounted_for(log) == 36 * (PRINTED + 3)
