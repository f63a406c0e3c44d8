"""The master's end of a control socket: messages in, descriptors out, never in."""

import asyncio
import os
import socket
from types import SimpleNamespace

import pytest

from pyfpm.kernel.descriptors import receive_with_descriptors, send_with_descriptors
from pyfpm.master.ear import LOOK_EVERY_S, Ear
from pyfpm.master.link import ControlLink
from pyfpm.master.turns import Turns
from pyfpm.messages import (
    MAX_MESSAGE_BYTES,
    Drain,
    LogLine,
    Parked,
    Poke,
    Saturated,
    Spawn,
    decode_message,
    encode_message,
)


def converse(act):
    """Run `await act(link, other)` and return the messages that the master heard."""
    heard = []

    async def main():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link = ControlLink(ours, heard.append, Turns(1e6, 1e6).join(1e6))
        try:
            await act(link, theirs)
            await asyncio.sleep(0.01)
        finally:
            link.close()
            theirs.close()

    asyncio.run(asyncio.wait_for(main(), 10))
    return heard


def open_count():
    return len(os.listdir("/proc/self/fd"))


def test_messages_arrive_in_order_and_the_end_is_none():
    """EOF is how the master learns that a process closed its socket."""

    async def act(link, other):
        other.send(encode_message(Saturated(1)))
        other.send(encode_message(Saturated(2)))
        other.close()

    assert converse(act) == [Saturated(1), Saturated(2), None]


@pytest.mark.parametrize(
    "noise", [b"garbage", b"{}", encode_message(Poke()) * 2, b"x" * MAX_MESSAGE_BYTES]
)
def test_garbage_ends_the_conversation(noise):
    """What follows garbage is not believed."""

    async def act(link, other):
        other.send(noise)
        other.send(encode_message(Saturated(1)))

    assert converse(act) == [None]


def test_message_longer_than_the_limit_ends_the_conversation():
    """The kernel cuts it; half a message is none."""

    async def act(link, other):
        long = b'{"kind": "LogLine", "level": "error", "message": "%b"}' % (b"x" * 100_000)
        other.send(long)

    assert converse(act) == [None]


def test_descriptors_that_a_worker_attaches_do_not_come_in():
    """The kernel refuses them to the sender, or the message with them ends the conversation."""
    counts, said = [], []

    async def act(link, other):
        counts.append(open_count())
        other.send(encode_message(LogLine("error", "before")))
        try:
            send_with_descriptors(other, encode_message(LogLine("error", "m")), [0, 1, 2])
        except PermissionError:
            other.send(encode_message(LogLine("error", "after")))
            said.append(LogLine("error", "after"))
        else:
            counts[0] -= 1  # its own socket
            said.append(None)
        await asyncio.sleep(0.05)
        counts.append(open_count())

    assert converse(act) == [LogLine("error", "before"), *said]
    assert counts[0] == counts[1]


def test_descriptors_that_the_master_sends_arrive_with_their_message():
    """Control socket and output pipes of a new worker."""

    async def act(link, other):
        assert link.send(Spawn(1, 2), [0, 1, 2])
        data, descriptors, lost = receive_with_descriptors(other, MAX_MESSAGE_BYTES)
        assert (decode_message(data), len(descriptors), lost) == (Spawn(1, 2), 3, False)
        for descriptor in descriptors:
            os.close(descriptor)

    assert converse(act) == []


def test_process_that_reads_nothing_does_not_block_the_master():
    """A stopped worker: sending says no, and the other pools go on."""

    async def act(link, other):
        sent = 0
        while link.send(Drain(Parked.HAND_OFF)):
            sent += 1
            assert sent < 100_000

    assert converse(act) == []


def test_closed_link_says_no_and_may_be_closed_again():
    """Ends are told from several sides."""

    async def act(link, other):
        link.close()
        link.close()
        link.drain()
        assert not link.send(Poke())
        assert other.recv(10) == b""

    assert converse(act) == []


def test_last_words_of_a_dead_process_are_read():
    """BootFailed may wait in the socket when the death is reaped."""

    async def act(link, other):
        other.send(encode_message(LogLine("error", "last words")))
        other.close()
        link.drain()

    assert converse(act) == [LogLine("error", "last words"), None]


@pytest.mark.parametrize(("is_cancelled", "looks"), [(False, 2), (True, 1)])
def test_look_that_is_planned_does_not_outlive_its_pool(is_cancelled, looks):
    """What workers shared with the master is closed by then."""
    seen = []
    messages = Turns(1e6, 1e6).join(1e6)
    keeper = SimpleNamespace(messages=messages, by_serial={}, look=lambda: seen.append(1))

    async def main():
        ear = Ear(keeper)
        for _ in range(3):
            ear.listener(SimpleNamespace())(Saturated(1))
        if is_cancelled:
            ear.cancel_look()
        # Timers run in the order of their times, however late.
        await asyncio.sleep(5 * LOOK_EVERY_S)

    asyncio.run(main())
    assert len(seen) == looks
