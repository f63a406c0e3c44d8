"""Parked connections of a pool that has no worker (DESIGN 4).

The last worker to leave puts its idle kept connections into the hand-off channel, from which the
master has them taken out (master.doorman). It never reads a byte from them: it waits until one is
readable, which calls for a worker, and puts it back into the channel once there is one. Closing
them instead would cost POSTs, because a web server may be sending on a connection at the moment it
is closed.

They are connected stream sockets, at most `MOST` of them and a sixteenth of the master's
descriptors, and of all pools together a quarter (see Allowance); what is beyond waits in the
channel. Workers had them, and may have prepared them so that their close waits: they are given up
to others (master.disposals).
"""

import resource
import select
import socket
from collections.abc import Callable, Iterable
from itertools import islice

from pyfpm.kernel.descriptors import send_with_descriptors
from pyfpm.master.examiner import MOST as MOST_EXAMINED
from pyfpm.master.examiner import Examiner

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

    def room(self, held: int) -> int:
        """How many more a pool that keeps `held` may keep; zero or less for none."""
        most = self._descriptors // 4
        of_all = max(most - self.held, most // self._pools - held)
        return min(min(MOST, self._descriptors // 16) - held, of_all)


class Adoption:
    """The connections that the master keeps for one pool."""

    def __init__(
        self,
        channel_send: socket.socket,
        allowance: Allowance,
        give_up: Callable[[int], None],
        examiner: Examiner,
        look: Callable[[], None],
    ) -> None:
        """`look` is called when a connection turns out to wait for a worker after all."""
        self._send = channel_send
        self._epoll = select.epoll()
        self._allowance = allowance
        self._allowance.join(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._give_up = give_up
        self._examiner = examiner
        self._look = look
        self._doubtful: set[int] = set()  # the peer is gone; whether it has sent something?
        self._asked: set[int] = set()  # those that the examiner looks at
        self._deadlines: dict[int, float] = {}
        self._readable: set[int] = set()

    def __len__(self) -> int:
        return len(self._deadlines)

    @property
    def room(self) -> int:
        """How many more may be taken out of the channel; zero or less for none."""
        return self._allowance.room(len(self._deadlines))

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
            self.keep(fd, deadline_s)

    def keep(self, fd: int, deadline_s: float) -> None:
        """Adopt a connection, until a time (monotonic)."""
        self._deadlines[fd] = deadline_s
        self._epoll.register(fd, _WANTED)
        self._allowance.held += 1

    def notice_readable(self) -> None:
        """Remember who became readable, once each.

        A connection that the web server closed without sending anything more is closed here.
        """
        for fd, events in self._epoll.poll(0, _BATCH):
            if events & _GONE:
                self._doubtful.add(fd)
            else:
                self._readable.add(fd)
        self._settle_doubts()

    def _settle_doubts(self) -> None:
        if self._examiner.is_stuck:
            for fd in list(self._doubtful):
                self._drop(fd)
        if self._doubtful and not self._examiner.is_busy:
            self._asked = set(islice(self._doubtful, MOST_EXAMINED))
            self._doubtful -= self._asked
            self._examiner.examine(frozenset(self._asked), self._found)

    def _found(self, unread: set[int]) -> None:
        asked, self._asked = self._asked, set()
        for fd in asked:
            if fd in unread:
                self._readable.add(fd)
            else:
                self._drop(fd)
        self._settle_doubts()
        if asked & unread:
            self._look()

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
        wanted = self._readable | self._doubtful | self._asked
        late = [fd for fd, deadline_s in self._deadlines.items() if deadline_s <= now_s]
        for fd in late:
            if fd not in wanted:
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
        for kept in (self._readable, self._doubtful, self._asked):
            kept.discard(fd)
        # Explicitly: in flight or in a worker the same open file lives on, and with it the
        # registration, under a number that means something else here by then.
        self._epoll.unregister(fd)
        self._give_up(fd)
