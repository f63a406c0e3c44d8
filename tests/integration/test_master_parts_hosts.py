"""Asking for host names in a child; the one that is known without a network is localhost."""

import asyncio
import os
import signal
import socket

import pytest
from forked import run_in_child

from pyfpm.config import TcpAddress, UnixAddress
from pyfpm.errors import SpawnError
from pyfpm.master.hosts import Hosts, ask
from pyfpm.master.reaper import Reaper


def look_up(*addresses, timeout_s=30.0):
    """The answers, brought in a loop with a reaper."""

    async def run():
        reaper = Reaper()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reaper.reap)
        hosts = Hosts(reaper, timeout_s)
        await hosts.look_up(addresses)
        return hosts

    return asyncio.run(run())


def test_answer_of_the_child_is_that_of_the_resolver():
    """Each place with its family, as bind takes it; nothing of the child is left."""

    def check():
        address = TcpAddress("localhost", 9000)
        before = os.listdir("/proc/self/fd")
        found = look_up(address).find(address)
        assert found == ask(address)
        assert (socket.AF_INET, ("127.0.0.1", 9000)) in found
        assert os.listdir("/proc/self/fd") == before
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    run_in_child(check)


def test_addresses_that_are_no_names_are_asked_of_nobody(monkeypatch):
    """There is no fork for them."""
    monkeypatch.setattr(os, "fork", None)
    addresses = [
        TcpAddress("127.0.0.1", 1),
        TcpAddress("::1", 2),
        TcpAddress("fe80::1%lo", 3),
        TcpAddress("", 4),
        UnixAddress("/run/localhost"),
    ]
    assert look_up(*addresses).find(addresses[0]) == [(socket.AF_INET, ("127.0.0.1", 1))]


def test_name_that_cannot_be_asked_for_keeps_no_other_from_being_found():
    """The answer to each is its own."""

    def check():
        bad, good = TcpAddress("x" * 64, 1), TcpAddress("localhost", 2)
        hosts = look_up(bad, good)
        assert hosts.find(good)
        with pytest.raises(SpawnError, match="is no host name"):
            hosts.find(bad)

    run_in_child(check)


def test_child_that_does_not_answer_is_ended_and_that_is_said():
    """With what to look after."""

    def check():
        address = TcpAddress("localhost", 9000)
        hosts = look_up(address, timeout_s=0.0)
        with pytest.raises(SpawnError, match=r"did not answer within 0 s: look after"):
            hosts.find(address)
        os.waitpid(-1, 0)  # killed: this does not hang

    run_in_child(check)


def test_fork_that_is_refused_is_the_answer(monkeypatch):
    """As for a machine without room for one more process."""

    def refuse():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    address = TcpAddress("localhost", 9000)
    before = os.listdir("/proc/self/fd")
    hosts = look_up(address)
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(SpawnError, match="asks for localhost: resource temporarily"):
        hosts.find(address)
