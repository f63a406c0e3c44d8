"""Which of some connections have unread bytes: asked by a child of the master.

The question (FIONREAD) locks a TCP socket, and who sends on it from memory of its own FUSE mount
has it locked for as long as its server likes; then even SIGKILL waits (Linux 6.18, net/ipv4/tcp.c).

One child at a time for each pool. Where there can be none, or it is killed, all are said to have
something unread: a worker will find out. Where it does not end in time, none.
"""

import asyncio
import os
import signal
from array import array
from collections.abc import Callable, Collection
from typing import NoReturn

from pyfpm.kernel.descriptors import unread_bytes
from pyfpm.kernel.disposal import close_all_but
from pyfpm.kernel.forking import fork, has_ended
from pyfpm.master.disposals import GATHER_S, PATIENCE_S
from pyfpm.master.reaper import Death, Reaper

MOST = 256
"""The answer fits into a pipe, also the smallest."""

Found = Callable[[set[int]], None]
"""Hears which connections have something unread."""


class Examiner:
    """Asks for one pool."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self.is_busy = False
        self.is_stuck = False
        """The last child does not end."""

    def examine(self, descriptors: Collection[int], found: Found) -> None:
        """Ask about at most MOST, soon; `found` is told later, nobody else being asked about."""
        self.is_busy = True
        asyncio.get_running_loop().call_later(GATHER_S, self._begin, descriptors, found)

    def _begin(self, descriptors: Collection[int], found: Found) -> None:
        self.is_busy = False
        try:
            answer, tell = os.pipe()
        except OSError:
            found(set(descriptors))
            return
        try:
            pid = fork(lambda: _be_examiner(descriptors, tell))
        except OSError:
            os.close(answer)
            found(set(descriptors))
            return
        finally:
            os.close(tell)
        self.is_busy = True

        def be_late() -> None:
            if has_ended(pid):
                return  # it was the master that stood still
            self.is_stuck = True
            os.kill(pid, signal.SIGKILL)  # a child that only the loop reaps
            found(set())

        late = asyncio.get_running_loop().call_later(PATIENCE_S, be_late)

        def ended(death: Death) -> None:
            late.cancel()
            was_stuck, self.is_stuck, self.is_busy = self.is_stuck, False, False
            # It has ended: the pipe has all of it, and its end.
            with open(answer, "rb") as file:
                known = array("i", file.read())
            if not was_stuck:
                found(set(known) if death.code == 0 else set(descriptors))

        self._reaper.watch(pid, ended)


def _be_examiner(descriptors: Collection[int], tell: int) -> NoReturn:
    code = 1
    try:
        close_all_but({*descriptors, tell})
        os.write(tell, array("i", (fd for fd in descriptors if _has_unread(fd))).tobytes())
        code = 0
    finally:
        os._exit(code)


def _has_unread(descriptor: int) -> bool:
    try:
        return unread_bytes(descriptor) > 0
    except OSError:
        return False
