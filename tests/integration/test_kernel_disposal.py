"""Closing what somebody else has prepared, and waiting for nothing."""

import os
import resource
import select
import socket

import pytest
from forked import Forked, run_in_child
from harness.lingering import make_lingering

from pyfpm.kernel.descriptors import send_with_descriptors
from pyfpm.kernel.disposal import dispose


def make_connection():
    return make_lingering()


def make_channel():
    """A Unix socket in whose queue such a connection is the last of its kind."""
    ours, theirs = make_lingering()
    send, receive = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    send_with_descriptors(send, b"c", [ours.fileno()])
    ours.close()
    send.close()
    return receive, theirs


SOCKETS = pytest.mark.parametrize("make", [make_connection, make_channel])


@SOCKETS
def test_close_of_such_a_socket_waits(make):
    """What the others are about: otherwise they would show nothing."""

    def close(receive, tell):
        doomed, other = make()
        tell(b"m")
        doomed.close()
        tell(b"c")
        other.close()

    with Forked(close) as child:
        assert child.hear() == b"m"
        assert child.hear(0.5) is None


@SOCKETS
def test_disposal_of_such_a_socket_does_not_wait(make):
    """Whatever the socket is, the one who gives it up goes on, and so does its child to its end."""

    def give_up():
        doomed, other = make()
        kept = socket.socketpair()
        number = doomed.detach()
        pid = dispose([number])
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        assert os.waitpid(pid, 0) == (pid, 0)
        kept[0].send(b"!")
        assert kept[1].recv(1) == b"!"
        other.close()

    run_in_child(give_up)


def test_child_that_waits_holds_nothing_but_what_was_given_up():
    """Whatever it hangs in, a listener can be bound anew and a peer sees its end."""

    def give_up():
        here, there = socket.socketpair()
        doomed = socket.socketpair()
        stopped_r, stopped_w = os.pipe()
        pid = dispose([doomed[0].detach()])
        here.close()
        os.close(stopped_w)
        os.waitpid(pid, 0)
        assert there.recv(1) == b""
        assert select.select([stopped_r], [], [], 5)[0]
        assert doomed[1].recv(1) == b""

    run_in_child(give_up)


def test_disposal_without_a_process_closes_nothing():
    """Better to keep it, and to try again, than to close it in place."""

    def give_up():
        doomed, other = make_lingering()
        os.setresuid(12345, 12345, 12345)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        before = os.listdir("/proc/self/fd")
        with pytest.raises(BlockingIOError):
            dispose([doomed.fileno()])
        assert os.listdir("/proc/self/fd") == before
        other.close()  # or the end of this function would wait

    run_in_child(give_up)
