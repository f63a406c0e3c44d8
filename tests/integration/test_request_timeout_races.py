"""RequestTimeout at any moment, and what becomes of requests that were there at the same time."""

import random
import threading
import time

import pytest
from harness.bare_worker import BareWorker
from harness.fcgi_client import FcgiClient, make_params
from harness.machine import wait_until
from harness.slow_app import TIMEOUT, begin, interrupt, worker_with

from pyfpm.fastcgi import encode_request
from pyfpm.kernel.watch import is_readable
from pyfpm.messages import Drain, Parked


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
