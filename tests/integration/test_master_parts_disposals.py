"""Children of the master that close and look for it: those that cannot, or that do not end."""

import asyncio
import errno
import os
import signal
import socket

import pytest

from pyfpm.kernel.disposal import dispose
from pyfpm.master import disposals, examiner
from pyfpm.master.disposals import Disposals
from pyfpm.master.examiner import Examiner
from pyfpm.master.reaper import Reaper


def run(main):
    """Run it in a loop that reaps."""

    async def reaping():
        reaper = Reaper()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reaper.reap)
        await main(reaper)

    asyncio.run(asyncio.wait_for(reaping(), 20))


async def until(condition):
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


def test_sockets_are_kept_until_there_can_be_a_child(monkeypatch):
    """Closing them in place could take for ever; the pool is behind meanwhile."""
    refused = [OSError(errno.EAGAIN, "Resource temporarily unavailable")]

    def dispose_later(descriptors):
        if refused:
            raise refused.pop()
        return dispose(descriptors)

    monkeypatch.setattr(disposals, "dispose", dispose_later)
    monkeypatch.setattr(disposals, "_RETRY_S", 0.2)

    async def main(reaper):
        disposal = Disposals(reaper).of("shop")
        ours, theirs = socket.socketpair()
        number = ours.detach()
        disposal.give_up(number)
        await until(lambda: disposal.is_behind)
        os.fstat(number)
        await until(lambda: not disposal.is_behind)
        assert theirs.recv(1) == b""
        theirs.close()

    run(main)


def test_child_that_does_not_end_keeps_what_comes_after_it_from_nobody_else(monkeypatch):
    """One at a time for each pool; an exec closes the rest all the same."""
    children = []

    def hang(descriptors):
        if children:
            return dispose(descriptors)
        children.append(os.posix_spawn("/bin/sleep", ["sleep", "60"], {}))
        for descriptor in descriptors:
            os.close(descriptor)
        return children[0]

    monkeypatch.setattr(disposals, "dispose", hang)
    monkeypatch.setattr(disposals, "PATIENCE_S", 1.0)

    async def main(reaper):
        every = Disposals(reaper)
        pairs = [socket.socketpair() for _ in range(4)]
        numbers = [ours.detach() for ours, _ in pairs]
        every.of("bad").give_up(numbers[0])
        await until(lambda: every.of("bad").is_behind)
        every.of("bad").give_up(numbers[1])
        every.of("good").give_up(numbers[2])
        await every.of("good").rest()
        await asyncio.to_thread(pairs[2][1].recv, 1)
        assert not every.of("good").is_behind
        os.fstat(numbers[1])
        every.finish()
        await asyncio.to_thread(pairs[1][1].recv, 1)
        os.kill(children[0], signal.SIGKILL)
        await until(lambda: not every.of("bad").is_behind)
        every.of("bad").give_up(numbers[3])
        await until(lambda: is_at_its_end(pairs[3][1]))
        for _, theirs in pairs:
            theirs.close()

    run(main)


def is_at_its_end(sock):
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize("may_fork", [True, False])
def test_examiner_tells_who_has_sent_something(monkeypatch, may_fork):
    """Where there can be no child, each may have: a worker finds out."""

    def refuse(child):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    if not may_fork:
        monkeypatch.setattr(examiner, "fork", refuse)

    async def main(reaper):
        pairs = [socket.socketpair() for _ in range(2)]
        pairs[0][1].send(b"request")
        numbers = [ours.fileno() for ours, _ in pairs]
        found = []
        Examiner(reaper).examine(numbers, found.append)
        await until(lambda: found)
        assert found == [{numbers[0]} if may_fork else set(numbers)]
        for ours, theirs in pairs:
            ours.close()
            theirs.close()

    run(main)


def test_examiner_that_does_not_end_has_found_nothing(monkeypatch):
    """The one who holds the lock of a connection is of its pool."""
    monkeypatch.setattr(examiner, "PATIENCE_S", 0.05)
    monkeypatch.setattr(examiner, "_has_unread", lambda fd: signal.pause())

    async def main(reaper):
        ours, theirs = socket.socketpair()
        theirs.send(b"request")
        found = []
        one = Examiner(reaper)
        one.examine([ours.fileno()], found.append)
        await until(lambda: found)
        await until(lambda: not one.is_busy)
        assert (found, one.is_stuck) == ([set()], False)
        ours.close()
        theirs.close()

    run(main)
