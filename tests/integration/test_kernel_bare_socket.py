"""Sockets that take bytes and no descriptors, on kernels that refuse those and on others."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest
from forked import run_in_child
from harness.attached import deaf_peer, send_lingering
from harness.machine import REPOSITORY
from harness.old_kernel import need_seccomp, without_socket_option

from pyfpm.kernel.bare_socket import BareSocket, DescriptorsAttachedError

SO_PASSRIGHTS = 83
REFUSES = BareSocket()._refuses
KINDS = (socket.SOCK_SEQPACKET, socket.SOCK_STREAM)


def make_pair(kind):
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    return BareSocket.around(ours), theirs


def accept_one():
    """Return an accepted socket with its client's end: by an abstract name."""
    with BareSocket() as listener:
        listener.bind("")
        listener.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
    return accepted, client


def assert_hung_up(theirs):
    """Perhaps a moment later, by a child; a reset where something was not read."""
    theirs.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        assert theirs.recv(1) == b""


def assert_attached_is_not_received(make, *arguments, flags=0):
    with deaf_peer() as port:
        run_in_child(lambda: receive_none(*make(*arguments), port, flags))


def receive_none(ours, theirs, port, flags):
    theirs.send(b"before")
    if REFUSES:
        assert send_lingering(theirs, b"attached", port, flags) == "EPERM"
        theirs.send(b"after")
        ours.setblocking(False)
        received = b""
        while len(received) < 11:
            received += ours.recv(100)
        assert received == b"beforeafter"
    else:
        assert send_lingering(theirs, b"attached", port, flags) == "sent"
        try:
            while ours.recv(6):
                pass
        except DescriptorsAttachedError:
            ours.close()
        else:
            pytest.fail("it was received")
        assert_hung_up(theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_message_with_descriptors_is_not_received(kind):
    """Refused to the sender, or the end of the conversation; what came before is heard."""
    assert_attached_is_not_received(make_pair, kind)


def test_what_a_listener_accepts_receives_none_either():
    """From the moment in which somebody connects."""
    assert_attached_is_not_received(accept_one)


def test_byte_out_of_band_with_descriptors_is_not_received():
    """It overtakes nothing, and is not skipped."""
    assert_attached_is_not_received(make_pair, socket.SOCK_STREAM, flags=socket.MSG_OOB)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", [b"", b"x"], ids=["nothing", "something"])
def test_close_with_descriptors_that_were_not_received_does_not_wait(kind, said):
    """Nor does it where an empty message is before them, which looks like the end."""

    def close():
        ours, theirs = make_pair(kind)
        theirs.send(said)
        assert send_lingering(theirs, b"attached", port) == ("EPERM" if REFUSES else "sent")
        ours.close()
        assert ours.fileno() == -1
        assert_hung_up(theirs)

    with deaf_peer() as port:
        run_in_child(close)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_received_as_from_any_socket(kind):
    """In order, none twice; nothing waits; an end is an end."""
    ours, theirs = make_pair(kind)
    with pytest.raises(BlockingIOError):
        ours.recv(10)
    theirs.send(b"one")
    theirs.send(b"two")
    assert ours.recv(3) + ours.recv(100) == b"onetwo"
    theirs.send(b"three")
    theirs.close()
    assert ours.recv(100) == b"three"
    assert ours.recv(100) == b""
    ours.close()
    ours.close()


def test_empty_message_is_received_once():
    """It reads like an end, and the next one is there all the same."""
    ours, theirs = make_pair(socket.SOCK_SEQPACKET)
    theirs.send(b"")
    theirs.send(b"next")
    assert [ours.recv(10), ours.recv(10)] == [b"", b"next"]


def test_duplicate_of_a_listener_that_is_closed_leaves_the_listener():
    """The control socket is quiet for a while before an upgrade."""
    with BareSocket() as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind("")
        listener.listen()
        listener.dup().close()
        client.connect(listener.getsockname())
        with listener.accept()[0] as accepted:
            client.send(b"heard")
            assert accepted.recv(10) == b"heard"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_ended", [True, False])
def test_close_of_what_carried_nothing_takes_no_child(kind, is_ended):
    """A fork for each worker that ends would cost more than all else about it."""
    ours, theirs = make_pair(kind)
    for left in (b"x", b"", b"left over"):
        theirs.send(left)
    if is_ended:
        theirs.close()

    def close():
        ours.close()
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    run_in_child(close)


@pytest.mark.skipif(not REFUSES, reason="this kernel has no SO_PASSRIGHTS (Linux 6.16)")
def test_kernel_that_cannot_refuse_them_is_no_worse():
    """All of this file as before Linux 6.16, to which these sockets do not know the option."""
    need_seccomp()
    words = [*without_socket_option(SO_PASSRIGHTS), sys.executable, "-m", "pytest", "-q", __file__]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout


def test_descriptor_that_a_kernel_cannot_refuse_is_open_nowhere():
    """Whatever was attached, this process has not got it."""
    ours, theirs = make_pair(socket.SOCK_SEQPACKET)
    before = os.listdir("/proc/self/fd")
    try:
        socket.send_fds(theirs, [b"x"], [0] * 253)
    except PermissionError:
        assert REFUSES
    else:
        with pytest.raises(DescriptorsAttachedError):
            ours.recv(10)
    assert os.listdir("/proc/self/fd") == before
