"""Workers and zygotes that die, applications that raise, children that are left behind."""

import contextlib
import os
import re
import signal
import threading

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import children_of, watching

from pyfpm.fastcgi import Stdout, encode_request

POOL = """
[pool:a]
app = crashing:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 2
"""

CRASHING = """\
import os, signal, subprocess, sys, time
import torture

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/orphans":
        # Children that outlive this worker, each in a way of its own.
        start_response("200 OK", [])
        pids = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                if os.fork() == 0:
                    time.sleep(float(environ["QUERY_STRING"]))
                    os._exit(5)
                os._exit(0)
            os.waitpid(child, 0)
        pids.append(subprocess.Popen(["sleep", environ["QUERY_STRING"]]).pid)
        return [b"forked"]
    if path == "/held":
        # Tells when it runs, then waits to be killed.
        write = start_response("200 OK", [("Content-Length", "100")])
        write(b"%d\\n" % os.getpid())
        time.sleep(60)
        return []
    return torture.app(environ, start_response)
"""


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOL, files={"crashing.py": CRASHING}) as running:
        wait_until(lambda: len(running.worker_pids("a")) == 2)
        yield running


def two_workers(fpm):
    """Return the pids of both workers once both serve."""

    def look():
        status = fpm.pool_status("a", full=True)
        pids = [entry["pid"] for entry in status["processes"]]
        return pids if status["idle processes"] == 2 == len(pids) else None

    return wait_until(look)


def kill_worker(fpm, pid):
    """Kill a worker and wait until its master has taken note."""
    os.kill(pid, signal.SIGKILL)
    fpm.log.wait_for(rf"child {pid} exited on signal 9")


def respawns(fpm):
    return fpm.pool_status("a")["respawns"]


@pytest.mark.parametrize("name", ["SEGV", "BUS", "ABRT", "ILL", "KILL", "USR1"])
def test_worker_that_dies_of_a_signal_is_replaced_while_others_serve(fpm, name):
    """The client sees its connection end, the log the signal, status one respawn more."""
    number = int(getattr(signal, f"SIG{name}"))
    counted = "killed" if name == "KILL" else "crash"
    pids, before, mark = two_workers(fpm), respawns(fpm), fpm.log.mark()
    response = fetch(fpm.address("a.sock"), f"/kill?sig={name}")
    assert not response.complete
    assert response.raw == b""
    line = rf"\[pool a\] child (\d+) exited on signal {number} \(SIG{name}\) after [\d.]+ seconds"
    dead = int(fpm.log.wait_for(line, since=mark)[1])
    survivor = next(pid for pid in pids if pid != dead)
    assert fetch(fpm.address("a.sock"), "/pid").status == 200
    now = two_workers(fpm)
    assert survivor in now
    assert dead not in now
    after = respawns(fpm)
    assert after == {**before, counted: before[counted] + 1}


def test_worker_that_exits_is_replaced(fpm):
    """os._exit in a request is no crash, and counted apart."""
    pids, before, mark = two_workers(fpm), respawns(fpm), fpm.log.mark()
    assert not fetch(fpm.address("a.sock"), "/exit?code=3").complete
    dead = int(fpm.log.wait_for(r"child (\d+) exited with code 3 after", since=mark)[1])
    assert dead in pids
    assert dead not in two_workers(fpm)
    assert respawns(fpm) == {**before, "exit": before["exit"] + 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_worker_told_to_drain_finishes_its_request_and_is_replaced(fpm, number):
    """TERM and QUIT to a worker lose no request, and the pool has its number again."""
    two_workers(fpm)
    with FcgiClient(fpm.address("a.sock")) as client:
        client.send(slow_request(1))
        busy = wait_until(lambda: busy_worker(fpm))
        with watching(busy) as ends:
            os.kill(busy, number)
            response = client.response()
            assert response.complete
            assert response.body == f"{busy}\n".encode()
            ends.wait()
    assert busy not in two_workers(fpm)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE]
)
def test_worker_ignores_the_signals_that_are_not_for_it(fpm, number):
    """A terminal's INT or a stray HUP reaches every process of a group; workers serve on."""
    pids = two_workers(fpm)
    for pid in pids:
        os.kill(pid, number)
    assert fetch(fpm.address("a.sock"), "/pid").status == 200
    assert two_workers(fpm) == pids


def slow_request(seconds):
    return encode_request(1, make_params(f"/sleep?s={seconds}"))


def busy_worker(fpm):
    processes = fpm.pool_status("a", full=True)["processes"]
    return next((entry["pid"] for entry in processes if entry["state"] == "Running"), None)


def test_worker_killed_in_the_middle_of_a_kept_response_truncates_it(fpm):
    """No END_REQUEST: the web server must see that the response broke off; the next one is well."""
    two_workers(fpm)
    with FcgiClient(fpm.address("a.sock")) as client:
        assert client.request("/pid", keep=True).complete
        client.send(encode_request(2, make_params("/held"), keep_conn=True))
        received = b""
        for event in client.events():
            if isinstance(event, Stdout):
                received += event.data
            if match := re.search(rb"\r\n\r\n(\d+)\n", received):
                break
        os.kill(int(match[1]), signal.SIGKILL)
        rest = client.response(2)
        assert not rest.complete
        assert rest.raw == b""
    assert fetch(fpm.address("a.sock"), "/pid").status == 200
    assert int(match[1]) not in two_workers(fpm)


def test_zygote_killed_is_replaced_and_its_workers_serve_on(fpm):
    """Workers owe nothing to the zygote they came from; later deaths find a new one."""
    pids, zygote, mark = two_workers(fpm), fpm.zygote_pid("a"), fpm.log.mark()
    os.kill(zygote, signal.SIGKILL)
    fpm.log.wait_for(rf"zygote {zygote} exited on signal 9 \(SIGKILL\)", since=mark)
    assert fetch(fpm.address("a.sock"), "/pid").status == 200
    fresh = wait_until(lambda: fpm.zygote_pid("a"))
    assert fresh != zygote
    assert two_workers(fpm) == pids
    os.kill(pids[0], signal.SIGKILL)
    fpm.log.wait_for(rf"child {pids[0]} exited on signal 9", since=mark)
    assert pids[0] not in two_workers(fpm)
    assert not fpm.log.find("boot failed", since=mark)


def test_zygote_and_workers_killed_together_come_back(fpm):
    """Everything of a pool dies at once: the pool is whole again, requests in between wait."""
    pids, zygote = two_workers(fpm), fpm.zygote_pid("a")
    for pid in (zygote, *pids):
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        fpm.log.wait_for(rf"child {pid} exited on signal 9")
    assert fetch(fpm.address("a.sock"), "/pid").status == 200
    assert not set(pids) & set(two_workers(fpm))
    assert fpm.pool_status("a")["state"] == "running"


def test_children_that_outlive_their_worker_are_reaped_and_not_counted(fpm):
    """The master inherits an application's orphans: they are no workers, and leave no zombie."""
    two_workers(fpm)
    response = fetch(fpm.address("a.sock"), "/orphans?2")
    assert response.body == b"forked"
    for pid in two_workers(fpm):
        kill_worker(fpm, pid)
    workers = two_workers(fpm)
    ours = {*workers, fpm.zygote_pid("a")}
    orphans = [pid for pid in children_of(fpm.process.pid) if pid not in ours]
    assert len(orphans) == 4
    before = respawns(fpm)
    with watching(*orphans) as ends:
        ends.wait(5)
    wait_until(lambda: not set(orphans) & set(children_of(fpm.process.pid)))
    assert two_workers(fpm) == workers
    assert respawns(fpm) == before


def test_application_exception_is_a_500_and_a_traceback_in_the_log(fpm):
    """The log names pool, request line and line of code; the same worker serves on."""
    pids, mark = two_workers(fpm), fpm.log.mark()
    response = fetch(fpm.address("a.sock"), "/error?x=1")
    assert response.status == 500
    assert response.complete
    assert b"torture" not in response.body  # nothing of the traceback for the client
    fpm.log.wait_for(r"RuntimeError: torture: raised before the response", since=mark)
    text = fpm.log.text(mark)
    assert "GET /error?x=1" in text
    assert re.search(r'\[pool a\]   File ".*torture.py", line \d+, in error', text)
    assert all("[pool a]" in line for line in fpm.log.find("torture.py", since=mark))
    assert two_workers(fpm) == pids


def test_exception_after_the_first_byte_closes_without_end_request(fpm):
    """A broken response is never made to look whole; the worker serves on."""
    pids, mark = two_workers(fpm), fpm.log.mark()
    with FcgiClient(fpm.address("a.sock")) as client:
        response = client.request("/error-late", keep=True)
        assert response.body == b"the first piece\n"
        assert not response.complete
        assert client.is_closed_by_peer()
    fpm.log.wait_for("torture: raised after the first piece", since=mark)
    assert two_workers(fpm) == pids


@pytest.mark.parametrize("uri", ["/sys-exit?code=3", "/error"])
def test_exit_by_exception_is_answered_and_keeps_the_worker(fpm, uri):
    """SystemExit is an exception of the request like any other."""
    pids = two_workers(fpm)
    assert fetch(fpm.address("a.sock"), uri).status == 500
    assert two_workers(fpm) == pids


def test_worker_woken_and_killed_leaves_no_client_waiting(fpm):
    """Workers are stopped, so that a connection wakes one, and killed before they can accept it."""
    for _ in range(3):
        woken, other = two_workers(fpm)
        answers = []

        def ask(client, answers=answers):
            answers.append(client.request("/pid").status)

        with contextlib.ExitStack() as stack:
            for pid in (woken, other):
                os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, other, signal.SIGCONT)
            for _ in range(4):
                client = stack.enter_context(FcgiClient(fpm.address("a.sock"), 5))
                thread = threading.Thread(target=ask, args=(client,))
                thread.start()
                stack.callback(thread.join)
            kill_worker(fpm, woken)
            os.kill(other, signal.SIGCONT)
        assert answers == [200] * 4
