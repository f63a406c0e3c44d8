"""Parked connections of a pool that has no worker (DESIGN 4).

The last worker to leave puts its idle kept connections into the hand-off channel, where the
master finds them. It never reads a byte from them: it waits until one is readable, which calls
for a worker, and puts it back into the channel once there is one. Closing them instead would cost
POSTs, because a web server may be sending on a connection at the moment it is closed.

The descriptors come from workers and may be anything. Only connected stream sockets are kept,
at most `MOST` of them and a sixteenth of the master's descriptors, and of all pools together a
quarter (see Allowance); what is beyond waits in the channel, and its worker with it.
"""

import os
import resource
import select
import socket
import stat
from collections.abc import Iterable

from pyfpm.kernel.descriptors import (
    is_hung_up,
    receive_with_descriptors,
    send_with_descriptors,
    unread_bytes,
)

MOST = 4096
_BATCH = 64
_WANTED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
# A Unix peer that closed shows HUP, a TCP peer RDHUP alone.
_GONE = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR


class Allowance:
    """How many connections the master may keep for all its pools.

    Some of them alone must not use up the descriptors that the others need to start a worker. Nor
    must they use up what may be kept: each pool may always keep its part of a quarter, so that the
    total stays below a half.
    """

    def __init__(self) -> None:
        self.held = 0
        self._pools = 0
        self._descriptors = 0

    def join(self, descriptors: int) -> None:
        """Another pool may keep connections, and the master may have so many descriptors now."""
        self._pools += 1
        self._descriptors = descriptors

    def leave(self) -> None:
        """A pool has ended."""
        self._pools -= 1

    def has_room_for(self, held: int) -> bool:
        """Whether a pool that keeps `held` may keep one more."""
        if held >= min(MOST, self._descriptors // 16):
            return False
        most = self._descriptors // 4
        return self.held < most or held < most // self._pools


class Adoption:
    """The connections that the master keeps for one pool."""

    def __init__(
        self,
        channel_receive: socket.socket,
        channel_send: socket.socket,
        allowance: Allowance | None = None,
    ) -> None:
        self._receive = channel_receive
        self._send = channel_send
        self._epoll = select.epoll()
        self._allowance = allowance or Allowance()
        self._allowance.join(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.may_hold_more = False
        self.taken = 0
        """How many messages were last taken out of the channel."""
        self._deadlines: dict[int, float] = {}
        self._readable: set[int] = set()

    def __len__(self) -> int:
        return len(self._deadlines)

    @property
    def is_full(self) -> bool:
        """Whether no more may be taken out of the channel."""
        return not self._allowance.has_room_for(len(self._deadlines))

    @property
    def has_readable(self) -> bool:
        """Whether a connection here waits for a worker."""
        return bool(self._readable)

    def fileno(self) -> int:
        """Readable when an adopted connection has become so; `notice_readable` follows."""
        return self._epoll.fileno()

    def save(self) -> tuple[tuple[int, float], ...]:
        """Each connection with the time when it expires, for the next master."""
        return tuple(self._deadlines.items())

    def resume(self, saved: Iterable[tuple[int, float]]) -> None:
        """Keep the connections of the master before an exec; what is readable shows again."""
        for fd, deadline_s in saved:
            self._keep(fd, deadline_s)

    def _keep(self, fd: int, deadline_s: float) -> None:
        self._deadlines[fd] = deadline_s
        self._epoll.register(fd, _WANTED)
        self._allowance.held += 1

    def adopt_waiting(self, now_s: float, keep_s: float) -> int:
        """Take connections out of the channel; how many were kept.

        `may_hold_more` says afterwards whether this ended before the channel was empty.
        """
        kept = self.taken = 0
        self.may_hold_more = False
        for _ in range(_BATCH):
            if self.is_full:
                return kept
            try:
                data, descriptors, _ = receive_with_descriptors(self._receive, 16, 1)
            except OSError:
                return kept
            self.taken += 1
            if not descriptors:
                if not data and is_hung_up(self._receive.fileno()):
                    return kept  # a worker has shut it down: it would be at its end for ever
                continue
            if _is_connection(descriptors[0]):
                self._keep(descriptors[0], now_s + keep_s)
                kept += 1
            else:
                os.close(descriptors[0])
        self.may_hold_more = True
        return kept

    def notice_readable(self) -> None:
        """Remember who became readable, once each.

        A connection that the web server closed without sending anything more is closed here.
        """
        for fd, events in self._epoll.poll(0, _BATCH):
            if events & _GONE and not _unread(fd):
                self._drop(fd)
            else:
                self._readable.add(fd)

    def return_readable(self) -> None:
        """Put readable connections back into the channel, for the worker that there is now."""
        for fd in list(self._readable):
            try:
                send_with_descriptors(self._send, b"c", [fd])
            except OSError:
                return  # no room in the channel now: the next look tries again
            self._drop(fd)

    def expire(self, now_s: float) -> None:
        """Close what has been idle for longer than keepalive_timeout and waits for no worker."""
        late = [fd for fd, deadline_s in self._deadlines.items() if deadline_s <= now_s]
        for fd in late:
            if fd not in self._readable:
                self._drop(fd)

    def close(self) -> None:
        """Close everything: the pool ends."""
        for fd in list(self._deadlines):
            self._drop(fd)
        self._epoll.close()
        self._allowance.leave()

    def _drop(self, fd: int) -> None:
        del self._deadlines[fd]
        self._allowance.held -= 1
        self._readable.discard(fd)
        # Explicitly: in flight or in a worker the same open file lives on, and with it the
        # registration, under a number that means something else here by then.
        self._epoll.unregister(fd)
        os.close(fd)


def _is_connection(fd: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
        with socket.socket(fileno=os.dup(fd)) as candidate:
            candidate.getpeername()
            return candidate.type == socket.SOCK_STREAM
    except OSError:
        return False


def _unread(fd: int) -> int:
    try:
        return unread_bytes(fd)
    except OSError:
        return 0
