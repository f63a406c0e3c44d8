"""What the host names stand for that pools listen on.

getaddrinfo(3) asks servers that may not answer, for ten seconds and more, and has neither a
deadline nor a way to wait for something else meanwhile. The master has one thread, in which nobody
would be spawned, ended or heard for so long, and again with every try of a pool that comes late. A
second thread it must not have: sockets are bound under a umask, which all threads share, and an
exec would end it. So a child asks. What the resolver loads and parses stays out of the master, too.

The answers are kept until the same address is asked for again. Whoever opens listeners does it in
one go, without a pause in which the pool could be stopped, or opened by somebody else, and has the
answers brought before. At the start of the service nobody is kept waiting, and names are asked for
where they stand.
"""

import asyncio
import ipaddress
import json
import os
import signal
import socket
from collections.abc import Iterable
from typing import Any

from pyfpm.config import ListenAddress, TcpAddress
from pyfpm.errors import SpawnError, reason_of
from pyfpm.kernel.title import set_title
from pyfpm.master.errand import run_errand
from pyfpm.master.launch import close_all_above
from pyfpm.master.reaper import Reaper

RESOLVE_S = 30.0
"""As long as glibc takes itself with three servers that do not answer (resolv.conf(5))."""

Place = tuple[int, tuple[Any, ...]]
"""A family, and an address of it as bind(2) takes it."""


class Hosts:
    """The answers by address."""

    def __init__(self, reaper: Reaper, timeout_s: float = RESOLVE_S) -> None:
        self._reaper = reaper
        self._timeout_s = timeout_s
        self._answers: dict[TcpAddress, list[Place] | str] = {}

    async def look_up(self, addresses: Iterable[ListenAddress]) -> None:
        """Ask for those that have a host name; `find` has the answers, or what is wrong."""
        named = [one for one in addresses if isinstance(one, TcpAddress) and _is_name(one.host)]
        answers = await asyncio.gather(*(self._ask(address) for address in named))
        self._answers.update(zip(named, answers, strict=True))

    def find(self, address: TcpAddress) -> list[Place]:
        """Where it is, each place once; SpawnError or OSError where that is not known."""
        answer = self._answers.get(address)
        if answer is None:
            return ask(address)
        if isinstance(answer, str):
            raise SpawnError(answer)
        return answer

    async def _ask(self, address: TcpAddress) -> list[Place] | str:
        try:
            done = await run_errand(lambda: _tell(address), self._reaper, self._timeout_s)
        except OSError as error:
            return f"start a process that asks for {address.host}: {reason_of(error)}"
        if done.death is None:
            return (
                f"the resolver did not answer within {self._timeout_s:g} s: look after the"
                " nameserver in /etc/resolv.conf, or listen on an address instead of a name"
            )
        return _read_answer(done.text) or f"the process that asked ended {done.death.text}"


def ask(address: TcpAddress) -> list[Place]:
    """Ask the resolver and wait for it; OSError with its words, SpawnError for what is no name."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError as error:  # a label that is empty, or longer than 63 bytes
        raise SpawnError(f"{address.host} is no host name: {error}") from error
    return list(dict.fromkeys((int(family), place) for family, _, _, _, place in found))


def _is_name(host: str) -> bool:
    """Whether a resolver is asked for it."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return bool(host)
    return False


def _tell(address: TcpAddress) -> None:
    """In the child: print the answer."""
    close_all_above(2)  # a socket that the master closes would go on listening here
    set_title("pyfpm: resolver")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        answer: object = ask(address)
    except (OSError, SpawnError) as error:
        answer = reason_of(error) if isinstance(error, OSError) else str(error)
    os.write(1, json.dumps(answer).encode())


def _read_answer(text: str) -> list[Place] | str:
    """What the child printed; empty where it is not whole."""
    try:
        answer = json.loads(text)
    except ValueError:
        return ""
    if isinstance(answer, str):
        return answer
    return [(family, tuple(place)) for family, place in answer]
