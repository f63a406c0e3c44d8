"""What an application may do to its worker, as docs/reference/applications.md says."""

import os
import signal
import subprocess
import sys

import pytest
from harness.bare_worker import BareWorker
from harness.fcgi_client import FcgiClient, fetch
from harness.machine import REPOSITORY, wait_until
from harness.master import Pyfpm

from pyfpm.messages import Drain, Parked, ReservedSignal

POOL = """
[pool:a]
app = bold:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 2
"""

BOLD = """\
import os, signal, threading, time
import torture

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/close-all":
        os.closerange(3, 65536)
    if path == "/close-all-and-open":
        os.closerange(3, 65536)
        for _ in range(40):
            os.open("/dev/null", os.O_RDWR)
    if path == "/exit":
        os._exit(7)
    if path == "/handlers":
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)
    if path == "/child":
        # A child that lives on and says how the reserved signals end it.
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, b"x")
            time.sleep(60)
            os._exit(0)
        os.read(reader, 1)
        number = int(environ["QUERY_STRING"])
        os.kill(child, number)
        _, status = os.waitpid(child, 0)
        return torture.reply(start_response, b"%d" % -os.waitstatus_to_exitcode(status))
    if path == "/child-extends":
        import pyfpm
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                pyfpm.extend_timeout(5)
            except RuntimeError as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.close(writer)
        return torture.reply(start_response, os.read(reader, 1000))
    if path == "/child-answers":
        if os.fork() == 0:
            start_response("200 OK", [])
            return [b"from the child"]
        os.wait()
    return torture.reply(start_response, b"%d\\n" % os.getpid())
"""
FILES = {"bold.py": BOLD}


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOL, files=FILES) as running:
        wait_until(lambda: len(running.worker_pids("a")) == 2)
        yield running


def serving_pid(fpm):
    return int(fetch(fpm.address("a.sock"), "/pid").body)


CLOSING = pytest.mark.parametrize("path", ["/close-all", "/close-all-and-open"])


@CLOSING
def test_worker_whose_descriptors_were_closed_says_so_and_ends(path):
    """Whether their numbers mean nothing or something else by then."""
    with BareWorker("bold:app", files=FILES) as worker, worker.client() as client:
        assert not client.request(path, keep=True).complete
        assert worker.wait_for_end() == 71
        worker.log.wait_for("the application closed descriptors of its worker")


@CLOSING
def test_worker_whose_descriptors_were_closed_is_replaced(fpm, path):
    """By itself, or by a master that sees it hang up; the others and the pool serve on."""
    wait_until(lambda: fpm.pool_status("a")["idle processes"] == 2)
    before = fpm.worker_pids("a")
    mark = fpm.log.mark()
    assert not fetch(fpm.address("a.sock"), path).complete
    fpm.log.wait_for(r"child \d+ exited (with code 71|on signal 9)", since=mark)
    after = wait_until(lambda: fpm.pool_status("a")["idle processes"] == 2 and fpm.worker_pids("a"))
    assert len(set(after) & set(before)) == 1
    assert serving_pid(fpm) in after


def test_worker_that_calls_exit_is_replaced_and_its_request_breaks_off(fpm):
    """os._exit says nothing to anybody."""
    wait_until(lambda: fpm.pool_status("a")["idle processes"] == 2)
    mark = fpm.log.mark()
    assert not fetch(fpm.address("a.sock"), "/exit").complete
    fpm.log.wait_for(r"child \d+ exited with code 7", since=mark)
    wait_until(lambda: fpm.pool_status("a")["idle processes"] == 2)
    assert serving_pid(fpm) in fpm.worker_pids("a")


def test_worker_with_handlers_of_the_application_still_drains():
    """Orders come over the control socket; only the signals are the application's."""
    with BareWorker("bold:app", files=FILES) as worker, worker.client() as client:
        assert client.request("/handlers", keep=True).status == 200
        worker.terminate()
        assert client.request("/", keep=True).body == b"%d\n" % worker.pid
        worker.tell(Drain(Parked.HAND_OFF))
        assert worker.wait_for_end() == 0


@pytest.mark.parametrize("number", [*ReservedSignal, signal.SIGTERM, signal.SIGQUIT])
def test_child_of_the_application_has_none_of_the_workers_handlers(number):
    """Nothing of a child's is dumped or interrupted in its worker's name; signals end it."""
    with (
        BareWorker("bold:app", files=FILES, terminate_timeout_s=10) as worker,
        worker.client() as client,
    ):
        assert client.request(f"/child?{number:d}", keep=True).body == b"%d" % number
        # Not while the minder's thread starts, for which the next answer is the sign (see worker).
        assert client.request("/", keep=True).status == 200
        worker.signal(ReservedSignal.DUMP_STACKS)
        assert "bare" not in worker.read_stacks(), "the worker lost its own handler"
        assert client.request("/", keep=True).status == 200


def test_child_of_the_application_has_no_request_to_extend():
    """The request is its parent's."""
    with (
        BareWorker("bold:app", files=FILES, terminate_timeout_s=10) as worker,
        worker.client() as client,
    ):
        answer = client.request("/child-extends").body
        assert b"this process is no worker of a pyfpm pool" in answer


def test_child_that_comes_back_answers_nothing():
    """One request, one answer: the parent's."""
    with BareWorker("bold:app", files=FILES) as worker, worker.client() as client:
        assert client.request("/child-answers", keep=True).body == b"%d\n" % worker.pid
        assert client.request("/", keep=True).body == b"%d\n" % worker.pid


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    return done.stdout.strip()


def test_public_names_import_outside_pyfpm_and_say_so_when_called():
    """Code that uses them can be tested without a pool."""
    assert (
        run(
            "from pyfpm import RequestTimeout, extend_timeout\n"
            "assert issubclass(RequestTimeout, BaseException)\n"
            "assert not issubclass(RequestTimeout, Exception)\n"
            "try: extend_timeout(5)\n"
            "except RuntimeError as error: print(error)\n"
        )
        == "extend_timeout: this process is no worker of a pyfpm pool"
    )


def test_import_of_the_package_loads_no_runtime():
    """It costs nothing until a public name is used."""
    assert (
        run(
            "import sys, pyfpm\n"
            "before = [name for name in sys.modules if name.startswith('pyfpm.')]\n"
            "shown = set(dir(pyfpm)) & set(pyfpm.__all__)\n"
            "public = shown >= {'RequestTimeout', 'extend_timeout'}\n"
            "from pyfpm import *\n"
            "print(before, public, RequestTimeout, extend_timeout is pyfpm.extend_timeout)\n"
        )
        == "['pyfpm.errors', 'pyfpm.form'] True <class 'pyfpm.RequestTimeout'> True"
    )


def test_name_that_is_not_there_is_an_attribute_error():
    """As for any module."""
    assert (
        run("import pyfpm\ntry: pyfpm.extend_time\nexcept AttributeError as error: print(error)\n")
        == "module 'pyfpm' has no attribute 'extend_time'"
    )


def test_client_of_a_pool_sees_nothing_of_a_neighbour_that_breaks(fpm):
    """A kept connection of one worker goes on while the other is replaced."""
    wait_until(lambda: fpm.pool_status("a")["idle processes"] == 2)
    with FcgiClient(fpm.address("a.sock")) as kept:
        pid = int(kept.request("/pid", keep=True).body)
        other = next(number for number in fpm.worker_pids("a") if number != pid)
        mark = fpm.log.mark()
        os.kill(other, signal.SIGKILL)
        fpm.log.wait_for(rf"child {other} exited on signal 9", since=mark)
        assert kept.request("/pid", keep=True).complete
