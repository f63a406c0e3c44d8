"""RequestTimeout in a worker: where it lands, what the client sees, and whether the worker leaves.

The test plays the master and sends the signal itself.
"""

import contextlib
import os
import time

import pytest
from harness.bare_worker import BareWorker
from harness.fcgi_client import make_params
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.slow_app import APP, FILES, TIMEOUT, begin, interrupt, worker_with

from pyfpm.fastcgi import encode_request
from pyfpm.messages import Draining


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
