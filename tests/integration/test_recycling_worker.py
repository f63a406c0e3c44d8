"""A worker that asks to be replaced, and the three ways in which it is told to drain."""

import os
import socket
import time

import pytest
from harness.bare_worker import BareWorker
from harness.fcgi_client import make_params
from harness.machine import wait_until

from pyfpm.fastcgi import encode_request
from pyfpm.messages import Drain, Draining, Due, Parked
from pyfpm.scoreboard import Stage


def test_worker_says_once_that_it_is_due_and_serves_on():
    """Until it is told to drain nothing changes for its clients."""
    with BareWorker(max_requests=5, max_requests_jitter=0) as worker, worker.client() as client:
        for _ in range(4):
            assert client.request("/pid", keep=True).status == 200
        assert not worker.said(Due)
        for _ in range(30):
            assert client.request("/pid", keep=True).status == 200
        assert worker.said(Due) == [Due("max_requests")]
        worker.tell(Drain(Parked.HAND_OFF))
        assert worker.wait_for_end() == 0
        assert not worker.said(Draining)
        assert len(worker.take_handed_off()) == 1


def test_worker_repeats_that_it_is_due_every_second():
    """The first word may have been lost."""
    with BareWorker(max_requests=1, max_requests_jitter=0) as worker, worker.client() as client:
        started_s = time.monotonic()
        while len(worker.said(Due)) < 3:
            assert client.request("/pid", keep=True).status == 200
            assert time.monotonic() - started_s < 10
        assert time.monotonic() - started_s > 2


def test_worker_with_more_memory_than_allowed_is_due():
    """Resident memory, looked at after the request that used it."""
    app = """\
import torture
KEPT = []
def app(environ, start_response):
    if environ["PATH_INFO"] == "/grow":
        KEPT.append(b"x" * (60 << 20))
    return torture.reply(start_response, b"ok")
"""
    files = {"growing.py": app}
    with (
        BareWorker("growing:app", files=files, max_memory_bytes=64 << 20) as worker,
        worker.client() as client,
    ):
        assert client.request("/", keep=True).status == 200
        assert not worker.said(Due)
        assert client.request("/grow", keep=True).status == 200
        assert worker.expect(Due) == Due("max_memory")
        assert client.request("/", keep=True).status == 200


def test_statm_that_the_application_closed_ends_the_looking_not_the_worker():
    """Its number may be a file of the application's by then."""
    app = """\
import os, torture
def app(environ, start_response):
    if environ["PATH_INFO"] == "/close":
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}").endswith("/statm"):
                    os.dup2(os.open("/dev/null", os.O_RDONLY), int(name))
            except FileNotFoundError:
                pass
    return torture.reply(start_response, b"ok")
"""
    files = {"closing.py": app}
    with BareWorker("closing:app", files=files, max_memory_bytes=1 << 40) as worker:
        with worker.client() as client:
            for path in ("/", "/close", "/", "/"):
                assert client.request(path, keep=True).status == 200
        assert len([line for line in worker.complaints() if "statm" in line]) == 1


def test_kept_connections_are_served_until_their_peer_closes_them():
    """Drain that keeps: nobody else could take them."""
    with BareWorker() as worker, worker.client() as first, worker.client() as second:
        for client in (first, second):
            assert client.request("/pid", keep=True).status == 200
        worker.tell(Drain(Parked.KEEP))
        wait_until(lambda: worker.slot().stage is Stage.DRAINING)
        for _ in range(5):
            for client in (first, second):
                assert client.request("/pid", keep=True).body == b"%d\n" % worker.pid
        first.close()
        assert second.request("/pid", keep=True).status == 200
        second.close()
        assert worker.wait_for_end() == 0
        assert not worker.take_handed_off()


def test_kept_connections_are_closed_when_they_have_been_idle_long_enough():
    """keepalive_timeout, from the last request on."""
    with BareWorker(keepalive_timeout_s=0.5) as worker, worker.client() as client:
        assert client.request("/pid", keep=True).status == 200
        worker.tell(Drain(Parked.KEEP))
        asked_s = time.monotonic()
        while time.monotonic() - asked_s < 1:
            assert client.request("/pid", keep=True).status == 200
            time.sleep(0.1)
        last_s = time.monotonic()
        assert client.is_closed_by_peer()
        assert worker.wait_for_end() == 0
        assert 0.3 < time.monotonic() - last_s < 5


def test_worker_that_keeps_takes_what_waited_in_backlog_and_channel():
    """A wake-up, or a message that nobody else would read, may have been meant for it."""
    with BareWorker() as worker, worker.client() as busy:
        busy.send(encode_request(1, make_params("/sleep?s=0.4"), keep_conn=True))
        worker.wait_running()
        waiting = worker.client()
        waiting.send(encode_request(1, make_params("/pid"), keep_conn=True))
        worker.tell(Drain(Parked.KEEP))
        assert busy.response().status == 200
        assert waiting.response().body == b"%d\n" % worker.pid
        assert waiting.request("/pid", keep=True).status == 200
        late = worker.client()
        late.send(encode_request(1, make_params("/pid"), keep_conn=True))
        waiting.close()
        busy.close()
        assert worker.wait_for_end() == 0
        late.close()


def test_minder_gives_nothing_away_that_is_to_be_kept():
    """A sibling looks idle on the board, but nobody reads the channel any more."""
    with BareWorker() as worker, worker.client() as parked, worker.client() as busy:
        idle = worker.board.slot(1)
        idle[1024] = Stage.IDLE.code
        worker.publish_slots(2)
        for client in (parked, busy):
            assert client.request("/pid", keep=True).status == 200
        worker.tell(Drain(Parked.KEEP))
        wait_until(lambda: worker.slot().stage is Stage.DRAINING)
        busy.send(encode_request(1, make_params("/sleep?s=0.3"), keep_conn=True))
        worker.wait_running()
        parked.send(encode_request(1, make_params("/pid"), keep_conn=True))
        assert busy.response().status == 200
        assert parked.response().body == b"%d\n" % worker.pid
        assert not worker.take_handed_off()


def test_worker_that_drains_already_looks_into_the_channel_again_when_it_is_to_keep():
    """What was offered in between has no other reader."""
    with BareWorker() as worker, worker.client() as half:
        whole = encode_request(1, make_params("/pid"), keep_conn=True)
        half.send(whole[:-16])
        with worker.client() as client:
            assert client.request("/pid").status == 200  # so the half was read
        worker.terminate()
        wait_until(lambda: worker.slot().stage is Stage.DRAINING)
        ours, theirs = socket.socketpair()
        worker.offer(theirs)
        theirs.close()
        with ours:
            worker.tell(Drain(Parked.KEEP))
            ours.sendall(whole)
            ours.settimeout(10)
            assert b"%d\n" % worker.pid in ours.recv(65536)
        half.send(whole[-16:])
        assert half.response().status == 200
        half.close()
        assert worker.wait_for_end() == 0


@pytest.mark.parametrize("order", [Parked.CLOSE, Parked.HAND_OFF, None])
def test_worker_that_keeps_leaves_when_told_more_urgently(order):
    """The last word counts; SIGTERM is one."""
    with BareWorker() as worker, worker.client() as client:
        assert client.request("/pid", keep=True).status == 200
        worker.tell(Drain(Parked.KEEP))
        wait_until(lambda: worker.slot().stage is Stage.DRAINING)
        if order is None:
            worker.terminate()
        else:
            worker.tell(Drain(order))
        assert worker.wait_for_end() == 0
        assert len(worker.take_handed_off()) == (order == Parked.HAND_OFF)


def test_worker_that_keeps_leaves_when_its_master_is_gone():
    """Nobody would reap or replace it."""
    with BareWorker() as worker, worker.client() as client:
        assert client.request("/pid", keep=True).status == 200
        worker.tell(Drain(Parked.KEEP))
        wait_until(lambda: worker.slot().stage is Stage.DRAINING)
        worker.stop_reading()
        assert client.is_closed_by_peer()
        assert worker.process.wait(10) == 0


def test_order_to_keep_after_a_signal_is_obeyed():
    """A worker that already drains, with a request that runs, hands nothing over from then on."""
    with BareWorker() as worker, worker.client() as busy:
        busy.send(encode_request(1, make_params("/sleep?s=0.5"), keep_conn=True))
        worker.wait_running()
        os.kill(worker.pid, 15)
        worker.tell(Drain(Parked.KEEP))
        assert busy.response().status == 200
        assert busy.request("/pid", keep=True).status == 200
        busy.close()
        assert worker.wait_for_end() == 0
        assert not worker.take_handed_off()
