"""request_queue_timeout: a request that waited too long gets 503 at once."""

import time

import pytest
from harness.bare_worker import BareWorker
from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm


@pytest.fixture(scope="module")
def worker():
    with BareWorker(
        queue_timeout_s=2, document={"status_path": "/status", "ping_path": "/ping"}
    ) as running:
        yield running


def ask(client, waited_s, uri="/pid", form="{:.3f}", **more):
    stamp = form.format(time.time() - waited_s)
    return client.request(uri, params={"REQUEST_START": stamp}, keep=True, **more)


def test_request_that_waited_too_long_is_refused_without_the_application(worker):
    """503 with Retry-After; it counts, and its connection goes on."""
    before = worker.slot()
    with worker.client() as client:
        for number in range(1, 4):
            response = ask(client, 2.5)
            assert (response.status, response.complete) == (503, True)
            assert response.header("Retry-After") == "2"
            wait_until(
                lambda count=number: worker.slot().requests_5xx - before.requests_5xx == count
            )
        assert ask(client, 0.5).body == b"%d\n" % worker.pid
        counts = client.request("/closes", keep=True).body
        assert b'"requests": 2' in counts, "the application was called for a refused request"
    assert [line for line in worker.complaints() if "request_queue_timeout is 2 s" in line]


def test_body_of_a_refused_request_disturbs_nothing(worker):
    """The next request on the connection is read from where it begins."""
    with worker.client() as client:
        body = b"x" * 300_000
        assert ask(client, 3, "/length", method="POST", body=body).status == 503
        assert b'"read": 300000' in ask(client, 0, "/length", method="POST", body=body).body


@pytest.mark.parametrize(
    "stamp",
    ["", "yesterday", "-1", "1e3", "nan", "t=", "t=x", "1.2.3", "1000000000.5", "t=1"],
)
def test_stamp_that_means_nothing_is_ignored(worker, stamp):
    """Malformed, or so old that rather the clocks differ."""
    with worker.client() as client:
        assert client.request("/pid", params={"REQUEST_START": stamp}).status == 200


def test_clock_of_the_web_server_may_be_ahead(worker):
    """A wait below zero is none."""
    with worker.client() as client:
        assert ask(client, -5).status == 200


def test_stamp_of_apache_counts_in_microseconds(worker):
    """`t=` and what its %t says."""
    with worker.client() as client:
        for waited_s, status in ((2.5, 503), (0.5, 200)):
            stamp = f"t={int((time.time() - waited_s) * 1e6)}"
            response = client.request("/pid", params={"REQUEST_START": stamp}, keep=True)
            assert response.status == status


@pytest.mark.parametrize("page", ["/status", "/ping"])
def test_pages_of_the_pool_are_answered_however_long_they_waited(worker, page):
    """Who looks at a busy pool wants to see it."""
    with worker.client() as client:
        assert ask(client, 30, page).status == 200


def test_without_the_option_no_request_is_refused():
    """0 is never."""
    with BareWorker() as plain, plain.client() as client:
        assert ask(client, 3000).status == 200


def test_option_of_a_pool_reaches_its_workers():
    """From the configuration to 503, the status and the log."""
    pool = """
[pool:a]
app = torture:app
listen = %(here)s/a.sock
pm = static
pm.max_children = 1
request_queue_timeout = 500ms
"""
    with Pyfpm(pool) as fpm:
        stamp = f"{time.time() - 1:.3f}"
        response = fetch(fpm.address("a.sock"), "/", params={"REQUEST_START": stamp})
        assert (response.status, response.header("Retry-After")) == (503, "1")
        fpm.log.wait_for(r"a request waited 1\.\d+ s, request_queue_timeout is 0.5 s")
        wait_until(lambda: fpm.pool_status("a")["requests 5xx"] == 1)
