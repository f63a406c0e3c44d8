"""Passing descriptors, and the hand-off channel that rests on it."""

import array
import errno
import os
import resource
import socket

import pytest
from forked import run_in_child

from pyfpm.errors import ProtocolError
from pyfpm.kernel.descriptors import (
    carries_descriptors_alone,
    receive_with_descriptors,
    send_with_descriptors,
    unread_bytes,
)
from pyfpm.runtime.channel import Channel


@pytest.fixture
def pair():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (left, right):
        end.setblocking(False)
    yield left, right
    for end in (left, right):
        end.close()


@pytest.fixture
def pipes():
    """Several descriptors that can be told apart."""
    made = [os.pipe() for _ in range(5)]
    yield [reader for reader, _ in made]
    for ends in made:
        for end in ends:
            os.close(end)


def test_socket_that_somebody_made_blocking_is_not_waited_for(pair):
    """O_NONBLOCK belongs to all who hold the open file; a hostile one takes it away."""
    for end in pair:
        end.setblocking(True)
    with pytest.raises(BlockingIOError):
        receive_with_descriptors(pair[1], 16, 1)

    def fill():
        for _ in range(100_000):
            send_with_descriptors(pair[0], b"c", [])

    with pytest.raises(BlockingIOError):
        fill()


@pytest.fixture
def connection():
    with socket.socketpair()[0] as one:
        yield one


@pytest.mark.parametrize(("end", "how"), [(0, socket.SHUT_WR), (1, socket.SHUT_RD), (0, 2), (1, 2)])
def test_channel_that_was_shut_down_is_at_its_end_and_does_not_spin(pair, connection, end, how):
    """For all who hold it, whichever end it was; an empty message is no end."""
    pair[0].send(b"")
    send_with_descriptors(pair[0], b"c", [connection.fileno()])
    channel = Channel(os.dup(pair[0].fileno()), os.dup(pair[1].fileno()), lambda: 5)
    os.close(channel.take())
    assert channel.take() is None
    assert not channel.is_shut
    assert channel.offer(connection.fileno())
    os.close(channel.take())
    pair[end].shutdown(how)
    assert channel.take() is None
    assert channel.is_shut
    assert not channel.offer(connection.fileno())
    channel.close()


def same_file(one, other):
    return os.path.sameopenfile(one, other)


def open_descriptors():
    return set(os.listdir("/proc/self/fd"))


def test_descriptors_arrive_with_their_message_and_close_on_exec(pair, pipes):
    """What was attached to a message comes with that message, in order."""
    send_with_descriptors(pair[0], b"two", pipes[:2])
    send_with_descriptors(pair[0], b"none", [])
    data, found, lost = receive_with_descriptors(pair[1], 100)
    assert (data, len(found), lost) == (b"two", 2, False)
    assert all(same_file(one, other) for one, other in zip(found, pipes, strict=False))
    assert not any(os.get_inheritable(descriptor) for descriptor in found)
    assert receive_with_descriptors(pair[1], 100) == (b"none", [], False)
    for descriptor in found:
        os.close(descriptor)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_descriptors_arrive_than_were_asked_for(pair, pipes, most):
    """A hostile sender attaches two where one is expected: the second must not stay open here."""
    before = open_descriptors()
    send_with_descriptors(pair[0], b"c", pipes)
    data, found, lost = receive_with_descriptors(pair[1], 16, most)
    assert (data, len(found), lost) == (b"c", most, True)
    for descriptor in found:
        os.close(descriptor)
    assert open_descriptors() == before


def test_exactly_as_many_as_were_asked_for_lose_nothing(pair, pipes):
    """The limit itself is no truncation."""
    for most in range(1, 6):
        send_with_descriptors(pair[0], b"c", pipes[:most])
        _, found, lost = receive_with_descriptors(pair[1], 16, most)
        assert (len(found), lost) == (most, False)
        for descriptor in found:
            os.close(descriptor)


def test_unread_messages_are_counted_by_their_bytes(pair):
    """FIONREAD adds up queued messages, so one byte each makes it a count."""
    reader, writer = pair[1], pair[0]
    for number in range(5):
        assert unread_bytes(reader.fileno()) == number
        send_with_descriptors(writer, b"c", [writer.fileno()])
    data, descriptors, _ = receive_with_descriptors(reader, 16, 1)
    os.close(descriptors[0])
    assert (data, unread_bytes(reader.fileno())) == (b"c", 4)


def test_closed_peer_is_an_empty_message(pair):
    """How a zygote learns that its master is gone."""
    pair[0].close()
    assert receive_with_descriptors(pair[1], 16) == (b"", [], False)


SO_PASSCRED, SO_TIMESTAMP, SO_PASSPIDFD = 16, 29, 76


@pytest.mark.parametrize("option", [SO_PASSCRED, SO_TIMESTAMP, SO_PASSPIDFD])
@pytest.mark.parametrize("is_empty", [False, True])
def test_what_somebody_has_the_kernel_add_is_an_error_and_leaves_nothing_open(
    pair, pipes, option, is_empty
):
    """With SO_PASSPIDFD each message, also an empty one, makes a descriptor where it arrives."""
    before = open_descriptors()
    assert carries_descriptors_alone(pair[1])
    try:
        pair[1].setsockopt(socket.SOL_SOCKET, option, 1)
    except OSError:
        pytest.skip("an older kernel")
    assert not carries_descriptors_alone(pair[1])
    send_with_descriptors(pair[0], b"c", [] if is_empty else pipes[:1])
    with pytest.raises(ProtocolError):
        receive_with_descriptors(pair[1], 16, 16)
    assert open_descriptors() == before


@pytest.mark.parametrize("option", [SO_PASSCRED, SO_PASSPIDFD])
def test_channel_whose_messages_bring_more_than_connections_is_shut(pair, connection, option):
    """The worker reads it no more, and the master replaces it."""
    channel = Channel(os.dup(pair[0].fileno()), os.dup(pair[1].fileno()), lambda: 5)
    before = open_descriptors()
    pair[1].setsockopt(socket.SOL_SOCKET, option, 1)
    pair[0].send(b"c")
    assert channel.take() is None
    assert channel.is_shut
    assert open_descriptors() == before
    channel.close()


# -- the channel --------------------------------------------------------------------------------


@pytest.fixture
def links():
    """Several connections that can be told apart."""
    made = [socket.socketpair() for _ in range(5)]
    yield [ours.fileno() for ours, _ in made]
    for ends in made:
        for end in ends:
            end.close()


@pytest.fixture
def channel(pair):
    """A worker's channel over both ends; `idle` is what its pool shows."""
    made = Channel(os.dup(pair[0].fileno()), os.dup(pair[1].fileno()), lambda: made.idle)
    made.idle = 0
    yield made
    made.close()
    if made._reserve is not None:
        os.close(made._reserve)


def test_offered_connection_is_taken_once_and_is_the_same_file(channel, links):
    """A connection in the channel outlives the worker that offered it."""
    assert channel.offer(links[0])
    taken = channel.take()
    assert same_file(taken, links[0])
    assert channel.take() is None
    os.close(taken)


@pytest.mark.parametrize(
    ("idle", "unread", "room"), [(0, 0, 0), (1, 0, 1), (3, 1, 2), (1, 1, 0), (1, 3, -2), (0, 2, 0)]
)
def test_room_is_what_idle_workers_exceed_waiting_messages_by(channel, links, idle, unread, room):
    """The surplus rule: without the bound a third of all requests went round in circles."""
    for _ in range(unread):
        assert channel.offer(links[0])
    channel.idle = idle
    assert (channel.room() > 0) == (room > 0)
    assert channel.room() == room


def test_full_channel_refuses_and_keeps_working(channel, links):
    """Who cannot offer keeps the connection; nothing is lost or sent twice."""
    offered = 0
    while channel.offer(links[0]):
        offered += 1
        assert offered < 10_000
    assert offered > 50
    taken = 0
    while (descriptor := channel.take()) is not None:
        os.close(descriptor)
        taken += 1
    assert taken == offered
    assert channel.offer(links[0])


def test_offer_of_a_closed_descriptor_is_an_error_of_ours(channel):
    """EBADF means that two owned one descriptor; it must not look like a full channel."""
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(OSError, match="Bad file descriptor"):
        channel.offer(reader)


def test_second_descriptor_of_a_hostile_message_does_not_stay_open(channel, pair, links):
    """Other workers of the pool write into the channel too."""
    before = len(open_descriptors())
    rights = array.array("i", links)
    pair[0].sendmsg([b"c"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    taken = channel.take()
    assert same_file(taken, links[0])
    os.close(taken)
    assert len(open_descriptors()) == before


def test_what_is_no_connection_is_dropped_and_the_next_one_taken(channel, pipes, links):
    """A pipe from a defective worker would block the one that reads from it."""
    before = open_descriptors()
    for descriptor in (pipes[0], pipes[1], links[0]):
        assert channel.offer(descriptor)
    taken = channel.take()
    assert same_file(taken, links[0])
    os.close(taken)
    assert open_descriptors() == before


def test_message_without_a_descriptor_is_passed_over(channel, pair, links):
    """The next connection must not wait for another wake-up behind an empty message."""
    pair[0].send(b"c")
    assert channel.offer(links[0])
    taken = channel.take()
    assert same_file(taken, links[0])
    os.close(taken)


def fill_descriptors():
    """Take every descriptor that RLIMIT_NOFILE leaves."""
    taken = []

    def fill():
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))

    with pytest.raises(OSError, match="Too many open files"):
        fill()
    return taken


def test_kernel_drops_descriptors_that_do_not_fit_and_says_so(pair, links):
    """The fact behind the reserve: the message is gone, and the client with it."""

    def receive_without_room():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        send_with_descriptors(pair[0], b"c", [links[0]])
        fill_descriptors()
        assert receive_with_descriptors(pair[1], 16, 1) == (b"c", [], True)
        with pytest.raises(BlockingIOError):
            receive_with_descriptors(pair[1], 16, 1)

    run_in_child(receive_without_room)


def test_channel_at_the_descriptor_limit_keeps_its_reserve_and_loses_nobody(pair, links):
    """At EMFILE one connection still arrives, the next ones wait until there is room."""

    def take_at_the_limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        channel = Channel(pair[0].fileno(), pair[1].fileno(), lambda: 1)
        assert all(channel.offer(descriptor) for descriptor in links)
        held = fill_descriptors()
        taken = [channel.take()]
        assert same_file(taken[0], links[0])
        for _ in range(3):
            with pytest.raises(OSError, match="Too many open files"):
                channel.take()
        for wanted in links[1:]:
            # Room for one connection and for the reserve that comes after it.
            os.close(held.pop())
            os.close(held.pop())
            taken.append(channel.take())
            assert same_file(taken[-1], wanted)
            held += fill_descriptors()
        assert (channel.lost, unread_bytes(pair[1].fileno())) == (0, 0)

    run_in_child(take_at_the_limit)


def test_channel_that_is_empty_at_the_limit_keeps_its_reserve(pair, links):
    """A look that finds nothing must not give the reserve away."""

    def look_often():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        channel = Channel(pair[0].fileno(), pair[1].fileno(), lambda: 1)
        fill_descriptors()
        for _ in range(5):
            assert channel.take() is None
        assert channel.offer(links[0])
        assert same_file(channel.take(), links[0])

    run_in_child(look_often)


def test_root_folder_without_dev_null_takes_connections_all_the_same(pair, links, monkeypatch):
    """A chroot may lack it: `check` has a notice, since applications tend to need it."""

    def nothing_there(path, *rest, **more):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    monkeypatch.setattr("pyfpm.runtime.channel.os.open", nothing_there)
    channel = Channel(os.dup(pair[0].fileno()), os.dup(pair[1].fileno()), lambda: 0)
    assert channel.offer(links[0])
    taken = channel.take()
    assert same_file(taken, links[0])
    for descriptor in (taken, channel._reserve):
        os.close(descriptor)
    channel.close()
