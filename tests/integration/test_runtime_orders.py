"""Orders of the master to a worker that bring a descriptor along."""

import os
import socket

import pytest

from pyfpm.messages import LogLine, NewAccessLog, Poke, decode_message, encode_message
from pyfpm.runtime.orders import Orders


class Access:
    """Stands for the worker's access log."""

    def __init__(self):
        self.files = []

    def switch(self, descriptor):
        self.files.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        os.close(descriptor)


@pytest.fixture
def link():
    """The master's end, and the orders at the other."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    orders = Orders(theirs)
    with ours, theirs:
        yield ours, orders


def count_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_new_access_log_reaches_its_writer(link, tmp_path):
    """The order is passed on too, so that the loop knows that there was one."""
    ours, orders = link
    orders.access = Access()
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    before = count_descriptors()
    socket.send_fds(ours, [encode_message(NewAccessLog())], [file])
    assert orders.take() == NewAccessLog()
    assert orders.access.files == [str(tmp_path / "log")]
    assert count_descriptors() == before
    os.close(file)


@pytest.mark.parametrize(
    "data", [encode_message(Poke()), b"rubbish", encode_message(NewAccessLog())]
)
def test_descriptor_that_nobody_takes_is_closed(link, data):
    """Of an order that brings none, that means nothing, or where there is no access log."""
    ours, orders = link
    before = count_descriptors()
    socket.send_fds(ours, [data], [0, 1])
    orders.take()
    assert count_descriptors() == before


def test_access_log_that_got_lost_on_its_way_is_complained_about(link):
    """The kernel drops what does not fit into the process; lines go on into the old file."""
    ours, orders = link
    orders.access = Access()
    ours.send(encode_message(NewAccessLog()))
    orders.take()
    line = decode_message(ours.recv(65536))
    assert isinstance(line, LogLine)
    assert "no descriptors left: the access log goes on in its old file" in line.message
    assert orders.access.files == []
