"""Signals reach a worker at whatever moment they arrive."""

import os
import signal
import time

import pytest
from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import children_of

POOL = """\
[pool:shop]
app = signals:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 1
"""
APP = """\
import os
import signal

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fork":
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, b"%d" % signal.set_wakeup_fd(-1))
            os._exit(0)
        os.wait()
        body = os.read(reader, 100)
    else:
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        body = b"%d" % descriptor
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""


def served():
    return Pyfpm(POOL, files={"signals.py": APP})


def test_every_signal_makes_the_loop_look():
    """The interpreter writes into a descriptor of the worker when one arrives."""
    with served() as fpm:
        assert int(fetch(fpm.address("shop.sock")).body) > 2


def test_a_child_of_the_application_does_not_wake_its_parent():
    """It has the pipe's number closed, which may be a descriptor of its own by then."""
    with served() as fpm:
        assert fetch(fpm.address("shop.sock"), "/fork").body == b"-1"
        assert int(fetch(fpm.address("shop.sock")).body) > 2


def test_term_at_any_moment_after_a_request_ends_the_worker():
    """Nothing else comes that could wake it: TERM arrives while it goes to sleep, or just before.

    Interleaving: the request is answered; the worker has run its last instruction of Python before
    epoll_wait; TERM arrives, and no handler runs; the worker sleeps.
    """
    with served() as fpm:
        for step in range(30):
            (pid,) = fpm.worker_pids("shop")
            fetch(fpm.address("shop.sock"))
            time.sleep(step * 0.00005)
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda pid=pid: fpm.worker_pids("shop") not in ([], [pid]))


@pytest.mark.parametrize("delay_s", [0, 0.0005, 0.001, 0.002, 0.005, 0.01])
def test_term_right_after_the_fork_finds_a_worker_that_heeds_it(delay_s):
    """Interleaving: fork; the pid is known; TERM arrives; the handlers are installed."""
    with served() as fpm:
        for _ in range(2):
            fetch(fpm.address("shop.sock"))
            (old,) = fpm.worker_pids("shop")
            known = set(children_of(fpm.process.pid))
            mark = fpm.log.mark()
            os.kill(old, signal.SIGTERM)
            young = wait_until(
                lambda known=known: set(children_of(fpm.process.pid)) - known, interval_s=0
            )
            time.sleep(delay_s)
            os.kill(young.pop(), signal.SIGTERM)
            wait_until(lambda old=old: fpm.worker_pids("shop") not in ([], [old]))
            assert not fpm.log.find("on signal", since=mark)
