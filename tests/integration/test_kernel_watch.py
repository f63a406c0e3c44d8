"""Epoll facts that the design rests on, tried against the kernel that runs here.

EPOLLEXCLUSIVE wakes one sleeper; if that one dies before it accepts, the connection waits beside
a sleeping worker until somebody registers the listener anew (DESIGN 3).
"""

import os
import select
import socket
import time

import pytest
from forked import Forked
from harness.machine import wait_until
from harness.processes import process_fields

from pyfpm.kernel.watch import (
    EXCLUSIVE,
    OneShotWatch,
    arm_exclusive,
    disarm,
    is_readable,
)


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        made.listen(64)
        made.setblocking(False)
        yield made


@pytest.fixture
def connect(listener):
    clients = []

    def connect():
        client = socket.socket(socket.AF_UNIX)
        client.connect(listener.getsockname())
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


# -- one-shot watch -----------------------------------------------------------------------------


@pytest.fixture
def watch():
    made = OneShotWatch()
    yield made
    made.close()


def test_one_shot_watch_reports_once_until_it_is_armed_again(watch, listener, connect):
    """Level-triggered readers woke the master 215,000 times for 35,000 requests."""
    fd = listener.fileno()
    watch.arm(fd)
    assert (is_readable(watch.fileno()), watch.drain()) == (False, [])
    connect()
    assert is_readable(watch.fileno())
    assert watch.drain() == [fd]
    connect()
    assert (is_readable(watch.fileno()), watch.drain()) == (False, [])
    watch.arm(fd)
    assert watch.drain() == [fd]


def test_one_shot_watch_that_is_disarmed_says_nothing(watch, listener, connect):
    """A pool that may not grow does not want to hear of connections."""
    watch.disarm(listener.fileno())
    watch.arm(listener.fileno())
    watch.disarm(listener.fileno())
    connect()
    assert (is_readable(watch.fileno()), watch.drain()) == (False, [])
    watch.arm(listener.fileno())
    assert watch.drain() == [listener.fileno()]


def test_one_shot_watch_may_be_armed_twice(watch, listener, connect):
    """Arming is a state, not a count."""
    watch.arm(listener.fileno())
    watch.arm(listener.fileno())
    connect()
    assert watch.drain() == [listener.fileno()]
    assert watch.drain() == []


def test_one_shot_watch_tells_several_descriptors_apart(watch, tmp_path, listener, connect):
    """A pool may have several listeners; the report of one does not use up the other's."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "other"))
        other.listen()
        watch.arm(listener.fileno())
        watch.arm(other.fileno())
        connect()
        assert watch.drain() == [listener.fileno()]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(other.getsockname())
            assert watch.drain() == [other.fileno()]


# -- exclusive sleepers -------------------------------------------------------------------------


def test_arming_twice_and_disarming_twice_is_no_error(listener, connect):
    """`rearm` after a poke does not have to know the state."""
    with select.epoll() as epoll:
        disarm(epoll, listener.fileno())
        arm_exclusive(epoll, listener.fileno())
        arm_exclusive(epoll, listener.fileno())
        connect()
        assert epoll.poll(0) == [(listener.fileno(), select.EPOLLIN)]
        disarm(epoll, listener.fileno())
        disarm(epoll, listener.fileno())
        assert epoll.poll(0) == []


def test_kernel_refuses_to_modify_an_exclusive_registration(listener):
    """Why re-arming is delete and add."""
    with select.epoll() as epoll:
        arm_exclusive(epoll, listener.fileno())
        with pytest.raises(OSError, match="Invalid argument"):
            epoll.modify(listener.fileno(), EXCLUSIVE)
        with pytest.raises(OSError, match="Invalid argument"):
            epoll.modify(listener.fileno(), select.EPOLLIN)


def test_kernel_refuses_one_shot_together_with_exclusive(listener):
    """Why a worker cannot have both."""
    with select.epoll() as epoll, pytest.raises(OSError, match="Invalid argument"):
        epoll.register(listener.fileno(), EXCLUSIVE | select.EPOLLONESHOT)


class Sleeper(Forked):
    """A worker that sleeps on the listener, and says what it saw: `w` woken, `n` nothing.

    Orders: `l` look again without registering, `r` register anew and look, `a` accept.
    """

    def __init__(self, listener):
        super().__init__(lambda orders, tell: self.sleep(listener, orders, tell))
        assert self.hear() == b"s"
        # An epoll that nobody sleeps on is passed over when the kernel looks whom to wake.
        wait_until(lambda: process_fields(self.pid)["State"].startswith("S"))

    @staticmethod
    def sleep(listener, orders, tell):
        fd = listener.fileno()
        epoll = select.epoll()
        arm_exclusive(epoll, fd)
        epoll.register(orders, select.EPOLLIN)
        tell(b"s")

        def look():
            return b"w" if any(seen == fd for seen, _ in epoll.poll(0)) else b"n"

        while True:
            for seen, _ in epoll.poll():
                if seen == fd:
                    disarm(epoll, fd)  # level-triggered: once is enough for the test
                    tell(b"w")
                    continue
                order = os.read(orders, 1)
                if not order:
                    return
                if order == b"r":
                    disarm(epoll, fd)
                    arm_exclusive(epoll, fd)
                    tell(look())
                    disarm(epoll, fd)
                elif order == b"l":
                    tell(look())
                else:
                    listener.accept()[0].close()
                    tell(b"a")


def which_woke(*sleepers):
    """Return the sleepers in the order of who has something to say, and who has not."""
    fds = {sleeper._answers: sleeper for sleeper in sleepers}
    ready, _, _ = select.select(list(fds), [], [], 5)
    time.sleep(0.02)
    ready, _, _ = select.select(list(fds), [], [], 0)
    woken = [fds[fd] for fd in ready]
    return woken, [sleeper for sleeper in sleepers if sleeper not in woken]


def test_one_connection_wakes_one_sleeper(listener, connect):
    """Without it every connection would wake the whole pool."""
    with Sleeper(listener) as one, Sleeper(listener) as two, Sleeper(listener) as three:
        connect()
        woken, asleep = which_woke(one, two, three)
        assert (len(woken), len(asleep)) == (1, 2)
        assert woken[0].hear() == b"w"


@pytest.mark.parametrize("interval_s", [0.0, 0.0005, 0.005, 0.05])
def test_wakeup_is_lost_with_its_sleeper_and_shown_again_after_a_poke(
    listener, connect, interval_s
):
    """The connection waits, the other worker sleeps on; a new registration shows it at once."""
    with Sleeper(listener) as one, Sleeper(listener) as two:
        connect()
        woken, (other,) = which_woke(one, two)
        assert woken[0].hear() == b"w"
        time.sleep(interval_s)
        woken[0].kill()
        assert other.hear(timeout_s=0.1) is None
        other.order(b"l")
        assert other.hear() == b"n", "polling again brings the lost wake-up back"
        assert is_readable(listener.fileno())
        other.order(b"r")
        assert other.hear() == b"w"
        other.order(b"a")
        assert other.hear() == b"a"
        assert not is_readable(listener.fileno())


def test_next_connection_wakes_the_other_sleeper_while_the_first_one_still_waits(listener, connect):
    """A lost wake-up concerns its own connection; traffic goes on, and only that client waits."""
    with Sleeper(listener) as one, Sleeper(listener) as two:
        connect()
        woken, (other,) = which_woke(one, two)
        woken[0].kill()
        connect()
        assert other.hear() == b"w"
        for _ in range(2):
            other.order(b"a")
            assert other.hear() == b"a"


def test_registration_that_ends_hands_its_wakeup_to_nobody(listener, connect):
    """Why a worker that stops listening must accept until EAGAIN first (DESIGN 3, rule b)."""
    with Sleeper(listener) as one, Sleeper(listener) as two:
        connect()
        woken, (other,) = which_woke(one, two)
        # The woken one has removed the listener from its epoll by now, and does nothing more.
        assert woken[0].hear() == b"w"
        assert other.hear(timeout_s=0.1) is None
