"""Where a worker's connections are while they are not being served.

A connection is in exactly one place:

    parked     quiet: no request on it, nothing buffered; may go to another process at any time
    waiting    a request has begun to arrive; up to request_buffer_size it costs a buffer only
    lingering  answered before its body had arrived; read to its end so that the answer arrives
    (none)     being served

Who takes a connection out of `parked` owns it; the minder takes them from another thread, by one
dict.pop. `waiting` and `lingering` are the engine's alone.
"""

import contextlib
import os
import select
import socket
import time

from pyfpm.kernel.heap import trim_heap
from pyfpm.kernel.watch import disarm, is_readable
from pyfpm.messages import RequestLimits
from pyfpm.runtime.connection import Connection
from pyfpm.scoreboard import SlotWriter
from pyfpm.scoreboard.slot import Word

NS = 1_000_000_000
_LINGER_NS = 5 * NS
_GRACE_NS = NS // 10  # a web server sends its request right after it has connected
_PARKED = int(Word.PARKED)  # an IntEnum member as an index costs a call on the hot path
_LINGER_READ_BYTES = 65536
_WORTH_TRIMMING_BYTES = 4 * 1024 * 1024


class ConnectionTable:
    """All connections of one worker, with their deadlines and their registrations."""

    def __init__(self, epoll: select.epoll, slot: SlotWriter, limits: RequestLimits) -> None:
        self.parked: dict[int, Connection] = {}
        self.waiting: dict[int, Connection] = {}
        self.lingering: dict[int, Connection] = {}
        self.held_bytes = 0
        self._most_held_bytes = 0  # since memory was given back last
        self.next_deadline_ns = 0  # 0: none
        self.closed_one = False  # since the engine last looked: there may be room for more
        self._epoll = epoll
        self._slot = slot
        self._limits = limits
        self._keepalive_ns = int(limits.keepalive_timeout_s * NS)

    def __len__(self) -> int:
        return len(self.parked) + len(self.waiting) + len(self.lingering)

    def park(self, connection: Connection) -> None:
        """Put a quiet connection where it waits for its next request."""
        if connection.held_bytes:  # what had begun to arrive came to nothing, without a request
            connection.held_bytes = 0
            connection.deadline_ns = time.monotonic_ns() + self._keepalive_ns
        if not connection.registered:
            self._register(connection)
        parked = self.parked
        parked[connection.fd] = connection
        self._slot.put(_PARKED, len(parked))
        deadline_ns = connection.deadline_ns
        if not self.next_deadline_ns or deadline_ns < self.next_deadline_ns:
            self.next_deadline_ns = deadline_ns

    def hold(self, connection: Connection) -> bool:
        """Put a half-sent request where the rest of it arrives; False if memory is used up.

        The head has a deadline of its own from its first byte on, the body one between reads.
        """
        now_ns = time.monotonic_ns()
        if connection.environ is not None:
            connection.deadline_ns = now_ns + int(self._limits.body_timeout_s * NS)
        elif connection.held_bytes == 0:
            connection.deadline_ns = now_ns + int(self._limits.header_timeout_s * NS)
        held = connection.waiting_bytes()
        if self.held_bytes + held > self._limits.buffer_total_bytes + self._limits.max_params_bytes:
            return False
        connection.held_bytes = held
        self.held_bytes += held
        self._most_held_bytes = max(self._most_held_bytes, self.held_bytes)
        if not connection.registered:
            self._register(connection)
        self.waiting[connection.fd] = connection
        self._bring_forward(connection.deadline_ns)
        return True

    def take_waiting(self, fd: int) -> Connection | None:
        """Take a half-sent request out, because more of it came."""
        connection = self.waiting.pop(fd, None)
        if connection is not None:
            self.held_bytes -= connection.held_bytes
            if self._is_much_free():
                self._bring_forward(time.monotonic_ns() + NS)
        return connection

    def linger(self, connection: Connection) -> None:
        """Say that nothing more comes from us, and read what still comes from there.

        Closing with unread body would reset the connection, and the answer would be lost with it
        (Apache then reports 503).
        """
        try:
            with socket.socket(fileno=os.dup(connection.fd)) as duplicate:
                duplicate.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(connection)
            return
        # What has come of it, and of its next record, would be held outside of every bound.
        connection.clear_request()
        connection.codec.take_unfinished()
        connection.deadline_ns = time.monotonic_ns() + _LINGER_NS
        if not connection.registered:
            self._register(connection)
        self.lingering[connection.fd] = connection
        self._bring_forward(connection.deadline_ns)

    def read_lingering(self, fd: int) -> None:
        """Throw away what came on a lingering connection."""
        connection = self.lingering.pop(fd)
        try:
            ended = not os.read(fd, _LINGER_READ_BYTES)
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self.close(connection)
        else:
            self.lingering[fd] = connection

    def close(self, connection: Connection) -> None:
        """Close a connection that has been taken out of its place."""
        self.unregister(connection)
        connection.close()
        self.count_without_one()

    def count_without_one(self) -> None:
        """A connection that was here belongs to somebody else now, or to nobody."""
        self._slot.put(_PARKED, len(self.parked))
        self.closed_one = True

    def unregister(self, connection: Connection) -> None:
        """Take a connection out of epoll before its descriptor is closed or given away.

        Closing alone would not do: another process may hold the same open file, and then the
        registration stays, under a number that means another connection by then.
        """
        if connection.registered:
            connection.registered = False
            disarm(self._epoll, connection.fd)

    def expired(self, now_ns: int) -> tuple[list[Connection], list[Connection]]:
        """Take out what has outstayed its deadline: half-sent requests, and all others.

        Not what is readable: the worker was busy, and the bytes came in time.
        """
        late = [
            connection
            for fd in _overdue(self.waiting, now_ns)
            if not is_readable(fd) and (connection := self.take_waiting(fd)) is not None
        ]
        idle = [
            connection
            for fd in _overdue(self.parked, now_ns)
            if not is_readable(fd) and (connection := self.parked.pop(fd, None)) is not None
        ]
        idle += [self.lingering.pop(fd) for fd in _overdue(self.lingering, now_ns)]
        deadlines = [
            connection.deadline_ns
            for place in (self.parked, self.waiting, self.lingering)
            for connection in place.copy().values()
        ]
        self.next_deadline_ns = min(deadlines, default=0)
        return late, idle

    def settle(self) -> None:
        """After a sweep: there may be room for more, and memory to give back.

        Bodies of many sizes leave gaps in the heap, which would stay as large as the crowd was.
        """
        self.closed_one = True
        if self._is_much_free():
            self._most_held_bytes = self.held_bytes
            trim_heap()

    def _is_much_free(self) -> bool:
        """Whether half-sent requests held much more than now, since memory was given back."""
        most = self._most_held_bytes
        return most >= _WORTH_TRIMMING_BYTES and self.held_bytes <= most // 2

    def take_slowest(self, most: int) -> list[Connection]:
        """Take out up to `most` of those who were answered, or wait for the head of a request.

        First those whose time is over first. Not who was answered whole and is silent since: its
        web server may use the connection at any time. Not who sends a body. Not what is readable:
        the worker was busy, and the bytes came in time. And nobody before he had a moment for it:
        where all have come just now, the engine is woken to look again.
        """
        now_ns = time.monotonic_ns()
        newest_ns = now_ns + int(self._limits.header_timeout_s * NS)
        places = [
            *(one for one in self.parked.copy().values() if one.registered and not one.served),
            *(one for one in self.waiting.values() if one.environ is None),
            *self.lingering.values(),
        ]
        slow = [one for one in places if not newest_ns - _GRACE_NS < one.deadline_ns <= newest_ns]
        if places and not slow:
            self._bring_forward(now_ns + _GRACE_NS)
        slow.sort(key=_deadline_of)
        return [one for one in slow[:most] if not is_readable(one.fd) and self._take_out(one.fd)]

    def _take_out(self, fd: int) -> Connection | None:
        """Take a connection out of wherever it is; None where the minder was quicker."""
        return self.parked.pop(fd, None) or self.take_waiting(fd) or self.lingering.pop(fd, None)

    def close_in_child(self) -> None:
        """Close the descriptors in a child that the application forked."""
        for place in (self.parked, self.waiting, self.lingering):
            for connection in place.values():
                with contextlib.suppress(OSError):
                    connection.close()

    def _register(self, connection: Connection) -> None:
        connection.registered = True
        self._epoll.register(connection.fd, select.EPOLLIN)

    def _bring_forward(self, deadline_ns: int) -> None:
        if not self.next_deadline_ns or deadline_ns < self.next_deadline_ns:
            self.next_deadline_ns = deadline_ns


def _deadline_of(connection: Connection) -> int:
    return connection.deadline_ns


def _overdue(place: dict[int, Connection], now_ns: int) -> list[int]:
    # A copy, because the minder may take connections out of `parked` meanwhile.
    return [fd for fd, held in place.copy().items() if held.deadline_ns <= now_ns]
