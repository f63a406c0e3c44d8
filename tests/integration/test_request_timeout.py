"""RequestTimeout in a worker: where it lands, what the client sees, and what becomes of the worker.

The test plays the master and sends the signal itself.
"""

import contextlib
import os
import random
import signal
import threading
import time

import pytest
from harness.bare_worker import BareWorker
from harness.fcgi_client import FcgiClient, make_params
from harness.machine import wait_until
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_request
from pyfpm.kernel.watch import is_readable
from pyfpm.messages import Drain, Draining, Parked, ReservedSignal

TIMEOUT = ReservedSignal.REQUEST_TIMEOUT

APP = """\
import os, threading, time
import pyfpm
import torture
from pyfpm import RequestTimeout, extend_timeout

SEEN = []

def app(environ, start_response):
    path = environ["PATH_INFO"]
    seconds = float(environ["QUERY_STRING"] or 60)
    if path == "/catch-exception":
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass
    if path == "/catch-everything":
        try:
            time.sleep(60)
        except BaseException as error:
            SEEN.append(type(error).__name__)
        return torture.reply(start_response, b"caught\\n")
    if path == "/seen":
        return torture.reply(start_response, repr(SEEN).encode())
    if path == "/loop":
        while True:
            pass
    if path == "/lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    if path == "/sleep":
        time.sleep(seconds)
    if path == "/spin":
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
    if path == "/read":
        try:
            body = environ["wsgi.input"].read()
        except BaseException as error:
            SEEN.append(type(error).__name__)
            try:
                environ["wsgi.input"].read()
            except OSError as error:
                SEEN.append(str(error))
            raise
        return torture.reply(start_response, b"%d\\n" % len(body))
    if path == "/partial":
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"a part\\n")
        time.sleep(60)
    if path == "/write-big":
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            write(b"x" * 10_000_000)
        except BaseException as error:
            SEEN.append(type(error).__name__)
        write(b"more")
        return [b"and more"]
    if path == "/list-big":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * 10_000_000]
    if path == "/close":
        class Result(list):
            def close(self):
                time.sleep(60)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Result([b"whole\\n"])
    if path == "/extend":
        extend_timeout(seconds)
        extend_timeout(0.001)
        time.sleep(seconds - 0.2)
        return torture.reply(start_response, b"extended\\n")
    if path == "/extend-by-thread":
        thread = threading.Thread(target=extend_timeout, args=(seconds,))
        thread.start()
        thread.join()
        time.sleep(seconds - 0.2)
        return torture.reply(start_response, b"extended\\n")
    if path == "/extend-wrong":
        found = []
        for value in (0, -1, float("nan"), float("inf"), 10 ** 400, 1e308):
            try:
                extend_timeout(value)
                found.append("taken")
            except (ValueError, OverflowError) as error:
                found.append(type(error).__name__)
        extend_timeout(1e200)
        return torture.reply(start_response, " ".join(found).encode())
    return torture.reply(start_response, b"%d\\n" % os.getpid())
"""
FILES = {"slow.py": APP}


def worker_with(timeout_s=0.1, **limits):
    return BareWorker("slow:app", files=FILES, terminate_timeout_s=timeout_s, **limits)


def begin(worker, client, uri):
    """Send a request, and return its start as soon as it runs."""
    before_s = worker.slot().request_started_s
    client.send(encode_request(1, make_params(uri), keep_conn=True))
    return worker.wait_running(before_s)


def interrupt(worker, started_s, timeout_s=0.1):
    """Send the signal, as the master does, when the request is overdue."""
    time.sleep(max(0.0, started_s + timeout_s - time.monotonic()))
    worker.signal(TIMEOUT)


@pytest.mark.parametrize("path", ["/sleep", "/catch-exception", "/loop", "/lock"])
def test_overdue_request_is_answered_with_504_and_its_worker_leaves(path):
    """Asleep, busy, in a lock, or in an application that catches Exception everywhere."""
    with worker_with() as worker, worker.client() as client:
        started_s = begin(worker, client, path)
        interrupt(worker, started_s)
        response = client.response()
        assert (response.status, response.complete) == (504, True)
        assert worker.expect(Draining).reason == "timeout"
        assert worker.wait_for_end() == 0
        log = worker.log.text()
        assert f"'GET {path}' was interrupted: it took longer than request_terminate_timeout" in log
        assert "slow.py" in log
        assert "on_signal" not in log
        assert len(worker.take_handed_off()) == 1, "the kept connection was not handed over"


def test_worker_goes_on_where_recycle_after_timeout_is_off():
    """Its connection stays, and the next request is answered on it."""
    with worker_with(recycle_after_timeout=False) as worker, worker.client() as client:
        for _ in range(3):
            started_s = begin(worker, client, "/sleep")
            interrupt(worker, started_s)
            assert client.response().status == 504
            assert client.request("/", keep=True).body == b"%d\n" % worker.pid
        assert not worker.said(Draining)


def test_response_of_an_application_that_catches_it_is_delivered():
    """The worker leaves all the same: what was interrupted may be broken."""
    with worker_with() as worker, worker.client() as client:
        started_s = begin(worker, client, "/catch-everything")
        interrupt(worker, started_s)
        response = client.response()
        assert (response.status, response.body) == (200, b"caught\n")
        assert worker.expect(Draining).reason == "timeout"
        assert worker.wait_for_end() == 0


def test_response_that_has_begun_is_broken_off():
    """Invariant: what failed midway is never completed."""
    with worker_with() as worker, worker.client() as client:
        started_s = begin(worker, client, "/partial")
        interrupt(worker, started_s)
        response = client.response()
        assert (response.status, response.body, response.complete) == (200, b"a part\n", False)
        assert worker.wait_for_end() == 0


@pytest.mark.parametrize("path", ["/write-big", "/list-big"])
def test_response_that_nobody_reads_is_broken_off(path):
    """A record was cut short, so nothing may follow it, whatever the application tries."""
    with worker_with(recycle_after_timeout=False) as worker, worker.client() as client:
        started_s = begin(worker, client, path)
        interrupt(worker, started_s)
        wait_until(lambda: worker.slot().requests == 1)
        response = client.response()
        assert not response.complete
        assert set(response.body) <= {ord("x")}
        with worker.client() as other:
            assert other.request("/").status == 200


def test_close_of_the_result_is_interrupted_after_its_response():
    """The client has everything; only the worker is late."""
    with worker_with(recycle_after_timeout=False) as worker, worker.client() as client:
        started_s = begin(worker, client, "/close")
        response = client.response()
        assert (response.body, response.complete) == (b"whole\n", True)
        interrupt(worker, started_s)
        worker.log.wait_for(r"was interrupted in close\(\)")
        assert client.request("/", keep=True).status == 200


def test_reading_a_body_that_does_not_come_is_interrupted():
    """504, and the input is unusable from then on: a part of it was thrown away."""
    with worker_with(recycle_after_timeout=False, buffer_size_bytes=10) as worker:
        with worker.client() as client:
            params = make_params("/read", method="POST", params={"CONTENT_LENGTH": "1000"})
            whole = encode_request(1, params, b"x" * 20, keep_conn=True)
            client.send(whole[:-8])
            interrupt(worker, worker.wait_running())
            assert client.response().status == 504
        with worker.client() as client:
            assert client.request("/seen").body == (
                b"['RequestTimeout', 'reading the request body was interrupted']"
            )


def test_signal_before_the_time_is_up_does_nothing():
    """It was meant for an earlier request, or is nobody's business."""
    with worker_with(timeout_s=30) as worker, worker.client() as client:
        begin(worker, client, "/sleep?0.3")
        for _ in range(20):
            worker.signal(TIMEOUT)
        assert client.response().status == 200
        assert not worker.said(Draining)


def test_signal_without_a_request_does_nothing():
    """Idle, with a last request that would be overdue by now."""
    with worker_with() as worker, worker.client() as client:
        worker.signal(TIMEOUT)
        assert client.request("/", keep=True).status == 200
        time.sleep(0.15)
        worker.signal(TIMEOUT)
        assert client.request("/", keep=True).status == 200
        assert not worker.said(Draining)


@pytest.mark.parametrize("path", ["/extend", "/extend-by-thread"])
def test_extended_request_runs_on_and_the_next_one_has_the_usual_time(path):
    """A later extension that is shorter takes nothing away."""
    with worker_with(recycle_after_timeout=False) as worker, worker.client() as client:
        started_s = begin(worker, client, f"{path}?0.6")
        interrupt(worker, started_s)
        interrupt(worker, started_s, 0.2)
        assert client.response().body == b"extended\n"
        started_s = begin(worker, client, "/sleep")
        interrupt(worker, started_s)
        assert client.response().status == 504


def test_extension_ends():
    """After it the request is overdue as any other."""
    app = FILES | {"more.py": APP.replace("seconds - 0.2", "60")}
    with (
        BareWorker("more:app", files=app, terminate_timeout_s=0.1) as worker,
        worker.client() as client,
    ):
        started_s = begin(worker, client, "/extend?0.4")
        interrupt(worker, started_s, 0.5)
        assert client.response().status == 504
        worker.log.wait_for(r"request_terminate_timeout \(0.1 s, as extended\)")


def test_extension_that_is_no_time_is_refused():
    """Any finite number above 0 is one."""
    with worker_with() as worker, worker.client() as client:
        answer = client.request("/extend-wrong").body.decode()
        assert answer == "ValueError ValueError ValueError ValueError taken taken"


@pytest.mark.parametrize("path", ["/spin", "/sleep"])
def test_no_request_is_hit_that_is_not_overdue(path):
    """Signals at any moment: a request gets its own answer, or 504 once its time is up."""
    timeout_s, tolerance_s = 0.02, 0.006
    dice = random.Random(20261121)
    with worker_with(timeout_s=timeout_s, recycle_after_timeout=False) as worker:
        over = threading.Event()

        def spray():
            while not over.wait(dice.random() * 0.002):
                worker.signal(TIMEOUT)

        thread = threading.Thread(target=spray)
        thread.start()
        statuses = []
        try:
            with worker.client() as client:
                for _ in range(200):
                    sent_s = time.monotonic()
                    seconds = 0.005 + dice.random() * 0.02
                    response = client.request(f"{path}?{seconds:.4f}", keep=True)
                    statuses.append(response.status)
                    assert response.complete
                    assert response.status in (200, 504)
                    if response.status == 504:
                        assert time.monotonic() - sent_s >= timeout_s - tolerance_s
        finally:
            over.set()
            thread.join()
        assert {200, 504} == set(statuses)
        assert worker.process.poll() is None
        wait_until(lambda: len(worker.log.find("was interrupted")) == statuses.count(504))


def test_signals_at_any_moment_leave_every_response_whole_broken_or_504():
    """Each way to answer, interrupted anywhere: never half of one answer in another."""
    dice = random.Random(20261122)
    body = bytes(range(256)) * 800
    expected = {
        ("/stream?n=200&size=500", None): b"".join(
            bytes([ord("a") + number % 26]) * 500 for number in range(200)
        ),
        ("/big?mb=2", None): b"\xaa" * (2 << 20),
        ("/file?size=500000", None): b"0123456789" * 50_000,
        ("/write", None): b"written twice, then returned\n",
        ("/echo", body): body,
        ("/spin?s=0.002", None): b"spun\n",
    }
    limits = {"terminate_timeout_s": 0.0055, "recycle_after_timeout": False}
    with BareWorker("torture:app", buffer_size_bytes=1000, **limits) as worker:
        over = threading.Event()

        def spray():
            while not over.wait(dice.random() * 0.001):
                worker.signal(TIMEOUT)

        thread = threading.Thread(target=spray)
        thread.start()
        seen = set()
        client = worker.client()
        try:
            for _ in range(600):
                (uri, sent), wanted = dice.choice([*expected.items()])
                method = "POST" if sent else "GET"
                response = client.request(uri, method=method, body=sent, keep=True)
                seen.add((response.status, response.complete))
                if response.complete and response.status == 200:
                    assert response.body == wanted
                elif response.complete:
                    assert (response.status, response.body) == (504, b"Gateway Timeout\n")
                else:
                    assert wanted.startswith(response.body)
                if not response.complete:
                    client.close()
                    client = worker.client()
        finally:
            over.set()
            thread.join()
            client.close()
        assert worker.process.poll() is None
        assert {(200, True), (504, True), (200, False)} <= seen


def test_worker_that_was_interrupted_takes_no_further_request():
    """What is readable already and what is half sent belongs to others, or is refused."""
    with (
        worker_with() as worker,
        worker.client() as parked,
        worker.client() as half,
        worker.client() as client,
        worker.client() as late,
    ):
        assert parked.request("/", keep=True).status == 200
        whole = encode_request(1, make_params("/"), keep_conn=True)
        half.send(whole[:-16])
        half_ready = FcgiClient(worker.address)
        assert half_ready.request("/", keep=True).status == 200  # so `half` has been read
        started_s = begin(worker, client, "/loop")
        late.send(whole)  # a new connection, and a request on a kept one
        parked.send(whole)
        interrupt(worker, started_s)
        assert client.response().status == 504
        assert half.response().status == 503
        half.close()
        half_ready.close()
        code = worker.wait_for_end()
        assert code == 0
        assert worker.slot().requests == 3
        # parked, half_ready, client; `late` either so or still in the backlog
        assert len(worker.take_handed_off()) in (3, 4)


def test_request_that_was_read_to_be_served_next_goes_to_another_worker():
    """Both became readable at the same time; nothing has been taken from the second."""
    with (
        worker_with() as worker,
        worker.client() as first,
        worker.client() as second,
        worker.client() as third,
    ):
        for client in (first, second, third):
            assert client.request("/", keep=True).status == 200
        started_s = begin(worker, first, "/sleep?0.3")
        second.send(encode_request(1, make_params("/loop"), keep_conn=True))
        whole = encode_request(1, make_params("/"), keep_conn=True)
        third.send(whole)
        assert first.response().status == 200
        started_s = worker.wait_running(started_s)
        interrupt(worker, started_s)
        assert second.response().status == 504
        assert worker.wait_for_end() == 0
        unread = [
            taken.recv(65536) for taken in worker.take_handed_off() if is_readable(taken.fileno())
        ]
        assert unread == [whole]


def test_interrupted_worker_of_a_service_that_ends_closes_what_nobody_can_take():
    """It must not serve, and there is nobody to hand over to."""
    with worker_with() as worker, worker.client() as parked, worker.client() as client:
        assert parked.request("/", keep=True).status == 200
        started_s = begin(worker, client, "/loop")
        worker.tell(Drain(Parked.CLOSE))
        parked.send(encode_request(1, make_params("/"), keep_conn=True))
        interrupt(worker, started_s)
        assert client.response().status == 504
        assert not parked.response().complete
        assert worker.wait_for_end() == 0


def test_memory_error_is_503_and_the_worker_leaves():
    """The process may be damaged, so nobody waits for a replacement."""
    app = """\
import torture
def app(environ, start_response):
    if environ["PATH_INFO"] == "/big":
        bytearray(1 << 60)
    return torture.reply(start_response, b"ok")
"""
    with BareWorker("hungry:app", files={"hungry.py": app}) as worker, worker.client() as client:
        assert client.request("/", keep=True).status == 200
        response = client.request("/big", keep=True)
        assert (response.status, response.complete) == (503, True)
        worker.log.wait_for("'GET /big' ran out of memory")
        assert worker.expect(Draining).reason == "out_of_memory"
        assert worker.wait_for_end() == 0
        assert worker.slot().requests_5xx == 1


def test_request_that_uses_up_all_its_address_space_gets_its_answer():
    """There is nothing left when the answer has to be made, but what was set aside."""
    app = """\
import resource, torture
CHAIN = None
def app(environ, start_response):
    global CHAIN
    if environ["PATH_INFO"] == "/big":
        with open("/proc/self/statm") as statm:
            size = int(statm.read().split()[0]) * 4096
        del statm  # and its buffer, which would be free memory later
        resource.setrlimit(resource.RLIMIT_AS, (size + (20 << 20),) * 2)
        step = 1 << 20
        while step:
            try:
                while True:
                    CHAIN = CHAIN, bytearray(step)
            except MemoryError:
                step //= 2
        while True:
            CHAIN = CHAIN, None
    return torture.reply(start_response, b"ok")
"""
    with BareWorker("hungry:app", files={"hungry.py": app}) as worker, worker.client() as client:
        response = client.request("/big", keep=True)
        assert (response.status, response.complete) == (503, True)
        worker.log.wait_for("'GET /big' ran out of memory")
        assert worker.expect(Draining).reason == "out_of_memory"
        assert worker.wait_for_end() == 0


def test_stacks_of_all_threads_are_dumped_while_a_request_runs():
    """With the function that takes long, whatever it waits for."""
    with worker_with(timeout_s=0) as worker, worker.client() as client:
        assert client.request("/", keep=True).status == 200
        begin(worker, client, "/lock")
        time.sleep(0.05)
        worker.signal(ReservedSignal.DUMP_STACKS)
        text = worker.read_stacks()
        assert "slow.py" in text
        assert " in app" in text
        assert "pyfpm/runtime/minder.py" in text
        worker.signal(signal.SIGKILL)


def test_boot_that_hangs_can_be_looked_into():
    """The handler stands before the application is imported."""
    files = {"hanging.py": "import time\ntime.sleep(60)\n"}
    with BareWorker("hanging:app", files=files, wait_ready=False) as worker:
        wait_until(lambda: worker.slot().pid == worker.pid)
        time.sleep(0.1)
        worker.signal(ReservedSignal.DUMP_STACKS)
        assert "hanging.py" in worker.read_stacks()


def test_time_limit_of_a_pool_reaches_its_workers():
    """From the configuration to 504, and on to a worker that takes the place."""
    pool = """
[pool:a]
app = slow:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 1
request_terminate_timeout = 200ms
"""
    with Pyfpm(pool, files=FILES) as fpm, fpm.client("a.sock") as client:
        pid = wait_until(lambda: fpm.worker_pids("a"))[0]
        client.send(encode_request(1, make_params("/catch-exception"), keep_conn=True))
        time.sleep(0.3)
        with contextlib.suppress(ProcessLookupError):  # a master that has sent it by itself
            os.kill(pid, TIMEOUT)
        assert client.response().status == 504
        # Its connection was handed over, and the next worker answers on it.
        answer = client.request("/", keep=True)
        assert answer.complete
        assert int(answer.body) != pid
