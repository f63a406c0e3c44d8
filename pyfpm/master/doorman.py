"""Who takes connections out of a hand-off channel for the master: a child of it, for some at once.

Anybody of the pool may have put anything there, and to receive a descriptor is dangerous in itself:
one of a file on a tenant's FUSE mount can be neither closed nor looked at (fstat) without waiting
for its server, in a state in which even SIGKILL waits (Linux 6.18, fs/fuse/file.c); what does not
fit into the buffer, or into the limit of descriptors, is closed by the receiver; a question to a
TCP socket waits for whoever has it locked. So the master never does any of it. The child does:

    channel -> child: receives, looks -> link, a socket pair of their own -> master

It passes on connected stream sockets. Anything else breaks the rules of the channel, which is given
up then, with what is left in it. The child closes nothing before the master has hung up, and then
ends: so what the master receives from it is never the last of its kind.

One child at a time for each pool. One that does not get through is killed; if it waits where that
does not help, it waits alone, and its pool has no other until it ends.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

from pyfpm.errors import ProtocolError
from pyfpm.kernel.descriptors import (
    is_hung_up,
    receive_with_descriptors,
    send_with_descriptors,
)
from pyfpm.kernel.disposal import close_all_but
from pyfpm.kernel.forking import fork, has_ended
from pyfpm.logs import Log
from pyfpm.master.disposals import PATIENCE_S
from pyfpm.master.examiner import Examiner
from pyfpm.master.reaper import Death
from pyfpm.master.setting import Setting
from pyfpm.master.shared import HandOffChannel

BATCH = 64
_MOST_AT_ONCE = 253  # SCM_MAX_FD: the kernel attaches no more to one message
_CONNECTION, _EMPTY, _MORE, _BROKEN = b"c", b"e", b"m", b"b"
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
_PROTOCOLS = (0, socket.IPPROTO_TCP)

Keep = Callable[[int], None]
Ended = Callable[[int, bool], None]
"""Hears how many messages were taken out of the channel, and whether it was empty then."""


class Doorman:
    """Lets connections in for one pool."""

    def __init__(self, pool: str, setting: Setting) -> None:
        self.allowance = setting.adopted
        self.disposal = setting.disposals.of(pool)
        self.examiner = Examiner(setting.reaper)
        self._setting = setting
        self._log = Log(pool)
        self._child: int | None = None
        self._is_late = False
        self._visit: _Visit | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether a child is letting connections in: the end of it will be told."""
        return self._child is not None and not self._is_late

    @property
    def is_stuck(self) -> bool:
        """Whether nothing can be let in for now."""
        return self._is_late or self.disposal.is_behind or not self._setting.lets_in

    def send(self, channel: HandOffChannel, most: int, keep: Keep, ended: Ended) -> bool:
        """Let at most `most` connections in, nobody being at work; False where that cannot be."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return False
        most = min(most, BATCH)
        with theirs:
            try:
                pid = fork(lambda: _be_doorman(channel.receive, theirs, most))
            except OSError:
                ours.close()
                return False
        ours.setblocking(False)
        self._child = pid
        self.allowance.held += most  # or several pools at once would be let in too many
        visit = self._visit = _Visit(ours, keep)
        late = asyncio.get_running_loop().call_later(PATIENCE_S, self._be_late, pid, channel)

        def gone(death: Death) -> None:
            del death
            late.cancel()
            visit.read()  # its last words
            if visit.broke_rules:
                channel.spoil()
            self.leave()
            self._child, self._is_late = None, False
            self.allowance.held -= most
            ended(visit.taken, visit.is_empty)

        # No death is missed: only the loop reaps, and it does not turn between the fork and here.
        self._setting.reaper.watch(pid, gone)
        return True

    def leave(self) -> None:
        """Keep nothing more of what it lets in: the pool has another channel, or ends.

        The child ends then. What may still be in the link is not closed here.
        """
        if self._visit is not None:
            rest = self._visit.end()
            self._visit = None
            if rest is not None:
                self.disposal.give_up(rest)

    def _be_late(self, pid: int, channel: HandOffChannel) -> None:
        if self._child != pid or has_ended(pid):
            return
        if self._visit is not None and not self._visit.is_over:
            self._visit.read()
            if self._visit.is_over:  # it was the master that stood still: now the child may end
                loop = asyncio.get_running_loop()
                loop.call_later(PATIENCE_S, self._be_late, pid, channel)
                return
        self._is_late = True
        channel.spoil()
        self._log.error(
            "doorman",
            f"process {self._child} has been looking at what is in its hand-off channel for"
            f" {PATIENCE_S:g} s: nothing more is taken out of it until that has ended",
        )
        # A child that only the loop reaps: the pid is still its own.
        os.kill(self._child, signal.SIGKILL)
        self.leave()


class _Visit:
    """What one child brings."""

    def __init__(self, link: socket.socket, keep: Keep) -> None:
        self._link = link
        self._keep = keep
        self.taken = 1
        """How many messages it took out of the channel; without its last word nobody knows."""
        self.is_empty = False
        self.broke_rules = False
        asyncio.get_running_loop().add_reader(link.fileno(), self.read)

    def read(self) -> None:
        """Take what it has let in, and its last word: why it stopped. Then it may end."""
        while not self.is_over:
            try:
                data, descriptors, _ = receive_with_descriptors(self._link, 16, 1)
            except BlockingIOError:
                return
            if data == _CONNECTION:
                for descriptor in descriptors:
                    self._keep(descriptor)
                continue
            if data:
                self.taken = int.from_bytes(data[1:])
                self.is_empty, self.broke_rules = data[:1] == _EMPTY, data[:1] == _BROKEN
            self._unwatch()
            self._link.close()  # nothing is in it

    @property
    def is_over(self) -> bool:
        """It has said its last word, or is not listened to any more."""
        return self._link.fileno() < 0

    def end(self) -> int | None:
        """Hang up; the link, where something may still be in it."""
        if self.is_over:
            return None
        self._unwatch()
        return self._link.detach()

    def _unwatch(self) -> None:
        asyncio.get_running_loop().remove_reader(self._link.fileno())


# -- in the child -----------------------------------------------------------------------------


def _be_doorman(channel: socket.socket, link: socket.socket, most: int) -> NoReturn:
    try:
        close_all_but({channel.fileno(), link.fileno()})
        link.setblocking(True)
        taken, word = let_in(
            channel, lambda fd: send_with_descriptors(link, _CONNECTION, [fd]), most
        )
        link.send(word + taken.to_bytes(4))
        link.recv(1)
    finally:
        os._exit(0)


def let_in(channel: socket.socket, pass_on: Keep, most: int) -> tuple[int, bytes]:
    """Take up to `most` messages; how many there were, and how that ended.

    Nothing is closed, neither what was passed on nor what was refused.
    """
    for taken in range(most):
        try:
            data, descriptors, lost = receive_with_descriptors(channel, 16, _MOST_AT_ONCE)
        except ProtocolError:
            return taken + 1, _BROKEN
        except OSError:
            return taken, _EMPTY
        if lost or len(descriptors) > 1:
            return taken + 1, _BROKEN
        if descriptors and not _is_for_a_connection(descriptors[0]):
            return taken + 1, _BROKEN
        if descriptors and _is_connected(descriptors[0]):
            pass_on(descriptors[0])
        elif descriptors:
            continue  # its client has reset it meanwhile
        if not descriptors and not data and is_hung_up(channel.fileno()):
            return taken, _EMPTY  # a worker has shut it down: it would be at its end for ever
    return most, _MORE


def _is_for_a_connection(fd: int) -> bool:
    """Whether it is a stream socket that does not listen."""
    with contextlib.suppress(OSError):
        candidate = socket.socket(fileno=fd)
        try:
            return (
                candidate.type == socket.SOCK_STREAM
                and candidate.family in _FAMILIES
                and candidate.proto in _PROTOCOLS
                and not candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            )
        finally:
            candidate.detach()
    return False


def _is_connected(fd: int) -> bool:
    candidate = socket.socket(fileno=fd)
    try:
        candidate.getpeername()
    except OSError:
        return False
    else:
        return True
    finally:
        candidate.detach()
