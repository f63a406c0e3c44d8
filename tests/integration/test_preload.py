"""preload = auto, on, off: where the application is imported, and when that is not safe."""

import json
import os
import signal
import socket

import pytest
from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import watching

POOL = """
[pool:a]
app = {app}:app
listen = %(here)s/a.sock
pm = {pm}
pm.max_children = 2
preload = {preload}
"""

# What every application here answers: who imported it, and what is left of the import.
ANSWER = """\
import json, os, threading
IMPORTED_BY = os.getpid()

def app(environ, start_response):
    body = json.dumps({
        "imported_by": IMPORTED_BY, "pid": os.getpid(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "ticks": globals().get("TICKS", [0])[0],
        "numerics": os.environ.get("OMP_NUM_THREADS"),
    }).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
"""

THREADED = (
    ANSWER
    + """
import time
TICKS = [0]
def tick():
    while True:
        TICKS[0] += 1
        time.sleep(0.01)
threading.Thread(target=tick, name="ticker", daemon=%s).start()
"""
)

CONNECTED = (
    ANSWER
    + """
import socket
LINK = socket.create_connection(("127.0.0.1", %d))
"""
)


def started(app_text, *, preload="auto", pm="static"):
    return Pyfpm(POOL.format(app="tried", pm=pm, preload=preload), files={"tried.py": app_text})


def ask(fpm):
    response = fetch(fpm.address("a.sock"))
    assert response.status == 200
    return json.loads(response.body)


def test_plain_application_is_imported_once_by_the_zygote():
    """Both workers share one import, and status gives no reason against it."""
    with started(ANSWER) as fpm:
        zygote = fpm.zygote_pid("a")
        wait_until(lambda: len(fpm.worker_pids("a")) == 2)
        answer = ask(fpm)
        assert answer["imported_by"] == zygote != answer["pid"]
        assert answer["numerics"] is None  # set for the import alone
        assert "reason" not in fpm.pool_status("a")


def test_preload_off_imports_in_every_worker():
    """Each worker is its own importer, and the zygote stays free of the application."""
    with started(ANSWER, preload="off") as fpm:
        wait_until(lambda: len(fpm.worker_pids("a")) == 2)
        answer = ask(fpm)
        assert answer["imported_by"] == answer["pid"]
        assert answer["imported_by"] in fpm.worker_pids("a")


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("pm", ["static", "ondemand"])
def test_import_that_starts_a_thread_moves_into_the_workers(daemon, pm):
    """A thread would be missing after the fork: workers import for themselves, and it runs."""
    with started(THREADED % daemon, pm=pm) as fpm:
        fpm.log.wait_for(
            r"\[pool a\] workers will import the application themselves: .* threads: ticker"
        )
        first = ask(fpm)
        assert first["imported_by"] == first["pid"]
        assert "ticker" in first["threads"]
        wait_until(lambda: ask(fpm)["ticks"] > first["ticks"])
        reason = fpm.pool_status("a")["reason"]
        assert reason.startswith("workers import the application themselves: ")
        assert "ticker" in reason
        assert "reason" in fpm.command("status", "a", "--format", "json").stdout
        with watching(first["pid"]) as ends:
            os.kill(first["pid"], signal.SIGKILL)
            ends.wait()
        again = ask(fpm)
        assert again["imported_by"] == again["pid"] != first["pid"]


def test_import_that_opens_a_connection_moves_into_the_workers():
    """Two workers must not talk on one connection: each gets its own, the zygote's is closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]
        with started(CONNECTED % port) as fpm:
            links = [server.accept()[0] for _ in range(3)]
            links[0].settimeout(10)
            assert links[0].recv(1) == b""  # the zygote that imported it is gone
            answer = ask(fpm)
            assert answer["imported_by"] == answer["pid"]
            assert f"connection open: 127.0.0.1:{port}" in fpm.pool_status("a")["reason"]
            for link in links:
                link.close()


def test_preload_on_forces_the_import_into_the_zygote():
    """Who says `on` knows better: the import is shared, and its thread is missing in workers."""
    with started(THREADED % False, preload="on") as fpm:
        zygote = fpm.zygote_pid("a")
        answer = ask(fpm)
        assert answer["imported_by"] == zygote
        assert "ticker" not in answer["threads"]
        assert "reason" not in fpm.pool_status("a")
        with watching(zygote, *fpm.worker_pids("a")) as ends:
            fpm.stop(timeout_s=5)  # a thread of the import must not keep the zygote alive
            ends.wait()


def test_import_that_opens_only_files_and_listeners_stays_in_the_zygote():
    """A log file or a socket pair end that was closed is no hazard, nor is a bound socket."""
    text = ANSWER + "FILE = open(__file__)\nimport socket\nUNBOUND = socket.socket()\n"
    with started(text) as fpm:
        answer = ask(fpm)
        assert answer["imported_by"] == fpm.zygote_pid("a")
        assert "reason" not in fpm.pool_status("a")


def test_ondemand_pool_gives_its_zygote_back_and_gets_a_new_one():
    """After preload.idle_timeout without workers the memory is free; a request brings it back."""
    pools = POOL.format(app="tried", pm="ondemand", preload="auto")
    pools += "preload.idle_timeout = 200ms\npm.process_idle_timeout = 200ms\n"
    with Pyfpm(pools, files={"tried.py": ANSWER}) as fpm:
        first = ask(fpm)
        assert first["imported_by"] == fpm.zygote_pid("a")
        with watching(first["pid"], first["imported_by"]) as ends:
            ends.wait()
        assert ask(fpm)["imported_by"] not in (first["imported_by"], first["pid"])
        assert not fpm.log.find("WARNING|ALERT|ERROR")
