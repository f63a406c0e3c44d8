"""The master as keeper of parked connections: it waits, reads nothing, and gives them back."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import struct
from types import SimpleNamespace

import pytest
from forked import run_in_child

from pyfpm.kernel.descriptors import (
    receive_with_descriptors,
    send_with_descriptors,
    unread_bytes,
)
from pyfpm.kernel.watch import is_readable
from pyfpm.master.adoption import Adoption, Allowance
from pyfpm.master.demand import Demand
from pyfpm.master.disposals import Disposals
from pyfpm.master.doorman import Doorman, let_in
from pyfpm.master.handles import WorkerState
from pyfpm.master.reaper import Reaper
from pyfpm.master.shared import HandOffChannel
from pyfpm.master.turns import Turns

KEEP_S = 75


@pytest.fixture
def channel():
    send, receive = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    send.setblocking(False)
    receive.setblocking(False)
    yield send, receive
    send.close()
    receive.close()


class AtOnce:
    """Looks at connections without a child."""

    is_busy = is_stuck = False

    def examine(self, descriptors, found):
        found({fd for fd in descriptors if unread_bytes(fd)})


@pytest.fixture
def adopt(adoption, channel):
    """Let in what waits in the channel, as a child of the master does it elsewhere."""

    def adopt(now_s, keep_s):
        before = len(adoption)
        let_in(channel[1], lambda fd: adoption.keep(fd, now_s + keep_s), 64)
        return len(adoption) - before

    return adopt


@pytest.fixture
def adoption(channel):
    send, _ = channel
    made = Adoption(send, Allowance(), os.close, AtOnce(), lambda: None)
    yield made
    made.close()


def make_pair(family):
    if family == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        return listener.accept()[0], theirs


@pytest.fixture(params=["unix", "tcp"])
def park(request, channel):
    """Park a connection in the channel as a worker does, and return the web server's end."""
    web_servers = []

    def park():
        ours, theirs = make_pair(request.param)
        send_with_descriptors(channel[0], b"c", [ours.fileno()])
        ours.close()
        theirs.settimeout(5)
        web_servers.append(theirs)
        return theirs

    yield park
    for end in web_servers:
        end.close()


def open_count():
    return len(os.listdir("/proc/self/fd"))


def wait_readable(adoption):
    assert select.select([adoption.fileno()], [], [], 5)[0]
    adoption.notice_readable()


def test_idle_connections_are_kept_and_call_for_nobody(adopt, adoption, park):
    """A pool at zero workers stays there while its clients are silent."""
    ends = [park() for _ in range(3)]
    assert adopt(0, KEEP_S) == 3
    adoption.notice_readable()
    assert (len(adoption), adoption.has_readable) == (3, False)
    assert not is_readable(adoption.fileno())
    for end in ends:
        end.setblocking(False)
        with pytest.raises(BlockingIOError):
            end.recv(1)


def test_connection_that_speaks_calls_for_a_worker_and_is_returned_once_unread(
    adopt, adoption, channel, park
):
    """Its request is whole when the worker gets it."""
    park()
    speaks = park()
    adopt(0, KEEP_S)
    speaks.sendall(b"request")
    wait_readable(adoption)
    adoption.notice_readable()
    assert (len(adoption), adoption.has_readable) == (2, True)
    assert not is_readable(adoption.fileno()), "the master would spin until there is a worker"
    adoption.return_readable()
    adoption.return_readable()
    assert (len(adoption), adoption.has_readable) == (1, False)
    _, (descriptor,), _ = receive_with_descriptors(channel[1], 16, 1)
    with socket.socket(fileno=descriptor) as worker_end:
        assert worker_end.recv(100) == b"request"
        worker_end.sendall(b"answer")
        assert speaks.recv(100) == b"answer"
    with pytest.raises(BlockingIOError):
        receive_with_descriptors(channel[1], 16, 1)


def test_request_that_was_there_before_the_adoption_is_seen(adopt, adoption, park):
    """It may arrive while the descriptor is in the channel."""
    park().sendall(b"early")
    adopt(0, KEEP_S)
    wait_readable(adoption)
    assert adoption.has_readable


def test_connection_that_the_web_server_closed_is_dropped_without_a_worker(
    adopt, adoption, park, request
):
    """nginx closes idle kept connections by the dozen; each would spawn a worker for nothing."""
    before = open_count()
    end = park()
    adopt(0, KEEP_S)
    end.close()
    wait_readable(adoption)
    assert (len(adoption), adoption.has_readable) == (0, False)
    assert open_count() == before


def test_connection_that_was_closed_after_a_request_still_gets_its_worker(adopt, adoption, park):
    """A client that sent and left is the application's business (the POST counts)."""
    end = park()
    adopt(0, KEEP_S)
    end.sendall(b"request")
    end.close()
    wait_readable(adoption)
    assert adoption.has_readable


def test_full_channel_keeps_what_could_not_be_returned(adopt, adoption, channel, park):
    """No connection is closed because there is no room for it now."""
    end = park()
    adopt(0, KEEP_S)
    end.sendall(b"request")
    wait_readable(adoption)
    filler = os.open(os.devnull, os.O_RDONLY)
    while True:
        try:
            send_with_descriptors(channel[0], b"c", [filler])
        except BlockingIOError:
            break
    os.close(filler)
    adoption.return_readable()
    assert (len(adoption), adoption.has_readable) == (1, True)
    while is_readable(channel[1].fileno()):
        _, descriptors, _ = receive_with_descriptors(channel[1], 16, 1)
        os.close(descriptors[0])
    adoption.return_readable()
    assert len(adoption) == 0


def test_idle_connections_expire_at_their_deadline_and_not_before(adopt, adoption, park):
    """keepalive_timeout holds at the master, too."""
    early, late = park(), None
    adopt(100.0, KEEP_S)
    late = park()
    adopt(110.0, KEEP_S)
    adoption.expire(174.9)
    assert len(adoption) == 2
    adoption.expire(175.0)
    assert len(adoption) == 1
    assert early.recv(1) == b""
    late.sendall(b"still open")
    wait_readable(adoption)
    assert adoption.has_readable


@pytest.mark.parametrize("what", ["listener", "datagram", "file", "two", "pipe"])
def test_what_is_no_connection_ends_the_channel_and_nothing_of_it_is_kept(channel, what):
    """One connection to a message, and nothing else: who breaks that is not read any further."""
    with contextlib.ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagram = stack.enter_context(socket.socketpair(type=socket.SOCK_DGRAM)[0])
        file = stack.enter_context(open(__file__, "rb"))
        pipe = os.pipe()
        stack.callback(os.closerange, pipe[0], pipe[1] + 1)
        sent = {
            "listener": [listener.fileno()],
            "datagram": [datagram.fileno()],
            "file": [file.fileno()],
            "two": [ours.fileno(), theirs.fileno()],
            "pipe": [pipe[0]],
        }[what]
        let = []
        socket.send_fds(channel[0], [b"c"], [ours.fileno()])
        socket.send_fds(channel[0], [b"c"], sent)
        socket.send_fds(channel[0], [b"c"], [ours.fileno()])

        def let_in_here():
            assert let_in(channel[1], let.append, 64) == (2, b"b")
            assert len(let) == 1
            assert let_in(channel[1], let.append, 64) == (1, b"e")

        run_in_child(let_in_here)


def test_connection_that_its_client_has_reset_is_passed_over(channel, park):
    """It is none any more, but was when a worker put it there; the next one is let in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
        socket.send_fds(channel[0], [b"c"], [served.fileno()])
        served.close()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    park()

    def let_in_here():
        let = []
        assert let_in(channel[1], let.append, 64) == (2, b"e")
        assert len(let) == 1

    run_in_child(let_in_here)


def test_message_with_nothing_is_passed_over(channel, park):
    """A defective application may have put it there."""
    channel[0].send(b"")
    channel[0].send(b"c")
    park()
    let = []
    assert let_in(channel[1], let.append, 64) == (3, b"e")
    assert let_in(channel[1], let.append, 64) == (0, b"e")
    (number,) = let
    os.close(number)


def make_doorman():
    """One in a loop that reaps."""
    reaper = Reaper()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reaper.reap)
    setting = SimpleNamespace(
        adopted=Allowance(), disposals=Disposals(reaper), reaper=reaper, lets_in=True
    )
    return Doorman("shop", setting)


async def rest(channel, doorman):
    """Wait for the last child of these."""
    while doorman.is_at_work:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    doorman.disposal.give_up(*channel.release())
    await doorman.disposal.rest()


@pytest.mark.parametrize("burst", [1, 1000])
def test_channel_that_is_filled_without_end_is_read_no_faster_than_its_share(burst):
    """Somebody keeps the other end of a pool that has no worker; one message at a time, or many."""
    per_s = 300
    paid = []

    async def main():
        loop = asyncio.get_running_loop()
        share = Turns(10_000, 500).join(per_s)
        channel = HandOffChannel()
        doorman = make_doorman()
        demand = Demand([], channel, None, KEEP_S, lambda: None, share, doorman)
        demand.open()
        demand.mind_channel([])
        began_s = loop.time()
        with socket.socketpair()[0] as ours:
            while loop.time() - began_s < 1:
                for _ in range(burst):
                    try:
                        send_with_descriptors(channel.send, b"junk", [ours.fileno()])
                    except OSError:
                        break
                await asyncio.sleep(0)
        paid.append(share.paid / (1 + loop.time() - began_s))
        demand.close()
        await rest(channel, doorman)

    asyncio.run(asyncio.wait_for(main(), 20))
    assert per_s / 4 < paid[0] < per_s * 1.3


def test_channel_of_a_pool_that_gets_a_worker_is_left_alone():
    """What waits there is for the worker, also where the master was waiting for its turn."""

    async def main():
        share = Turns(10_000, 500).join(300)
        share.pay(400)
        channel = HandOffChannel()
        doorman = make_doorman()
        demand = Demand([], channel, None, KEEP_S, lambda: None, share, doorman)
        demand.open()
        demand.mind_channel([])
        ours, theirs = socket.socketpair()
        send_with_descriptors(channel.send, b"c", [ours.fileno()])
        await asyncio.sleep(0.05)
        assert share.has_waiting
        demand.mind_channel([SimpleNamespace(state=WorkerState.BOOTING)])
        share.pay(-500)
        await asyncio.sleep(0.05)
        assert channel.waiting == 1
        demand.mind_channel([])
        while demand.is_adopting or not demand.adopted:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        assert (channel.waiting, demand.adopted) == (0, 1)
        demand.close()
        await rest(channel, doorman)
        ours.close()
        theirs.close()

    asyncio.run(asyncio.wait_for(main(), 20))
