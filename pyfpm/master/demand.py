"""Does a connection wait for this pool? Where the master looks, and how seldom it may.

A waiting connection is at a listener, in the hand-off channel, at a busy worker (`pending` in its
slot), or among those that the master keeps for a pool without workers. Listeners are watched
through a one-shot epoll, armed at most every 20 ms and only while the pool may grow.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from pyfpm.kernel.sock_diag import ListenQueue, read_listen_queue
from pyfpm.kernel.watch import OneShotWatch, is_readable
from pyfpm.master.adoption import Adoption
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.listeners import Listener
from pyfpm.master.shared import HandOffChannel, PoolMemory

_REARM_S = 0.02
_ADOPT_AGAIN_S = 0.01
"""After a full batch: whoever fills the channel as fast as it is read gets no more than so many."""


class Demand:
    """Watches over the waiting connections of one pool; `look` is called when one appears."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        channel: HandOffChannel,
        memory: PoolMemory,
        keepalive_timeout_s: float,
        look: Callable[[], None],
    ) -> None:
        self._listeners = listeners
        self._channel = channel
        self._memory = memory
        self._keep_s = keepalive_timeout_s
        self._look = look
        self._watch = OneShotWatch()
        self.adoption = Adoption(channel.receive, channel.send)
        self._backlogs: dict[int, int] = {}  # by descriptor: how many may wait there
        self._rearm: asyncio.TimerHandle | None = None
        self._armed_s = 0.0
        self._seen_idle_and_waiting = False
        self._open = False

    @property
    def adopted(self) -> int:
        """How many connections the master keeps for the pool."""
        return len(self.adoption)

    def open(self) -> None:
        """Begin to watch."""
        self._open = True
        loop = asyncio.get_running_loop()
        loop.add_reader(self._watch.fileno(), self._on_listener)
        loop.add_reader(self.adoption.fileno(), self._on_adopted)

    def change(
        self, listeners: Sequence[Listener], channel: HandOffChannel, keepalive_timeout_s: float
    ) -> None:
        """Watch these from now on: the pool has a new generation.

        With another channel the adopted connections end: they were accepted by processes of
        another user, or for other clients, and are nothing that the new ones may trust.
        """
        for listener in self._listeners:
            self._watch.disarm(listener.sock.fileno())
        self._backlogs.clear()  # a reload may have set listen.backlog
        self._listeners = listeners
        self._keep_s = keepalive_timeout_s
        if channel is self._channel:
            return
        loop = asyncio.get_running_loop()
        for descriptor in (self.adoption.fileno(), self._channel.receive.fileno()):
            loop.remove_reader(descriptor)
        self.adoption.close()
        self._channel = channel
        self.adoption = Adoption(channel.receive, channel.send)
        if self._open:
            loop.add_reader(self.adoption.fileno(), self._on_adopted)

    def close(self) -> None:
        """Stop watching and let go of the adopted connections."""
        if self._rearm is not None:
            self._rearm.cancel()
        if self._open:
            loop = asyncio.get_running_loop()
            for descriptor in (
                self._watch.fileno(),
                self.adoption.fileno(),
                self._channel.receive.fileno(),
            ):
                loop.remove_reader(descriptor)
        self._open = False
        self._watch.close()
        self.adoption.close()

    def is_waiting(self, workers: Iterable[WorkerHandle]) -> bool:
        """Whether a connection waits for a worker of this pool now."""
        board = self._memory.board
        return (
            any(is_readable(listener.sock.fileno()) for listener in self._listeners)
            or self._channel.waiting > 0
            or self.adoption.has_readable
            or any(board.pending(worker.slot) for worker in workers)
        )

    def waiting_count(self) -> int:
        """How many connections wait at the listeners and in the channel."""
        return sum(queue.waiting for queue in self.queues()) + self._channel.waiting

    def queues(self) -> list[ListenQueue]:
        """The backlog of each listener."""
        return [self._queue_of(listener) for listener in self._listeners]

    def _queue_of(self, listener: Listener) -> ListenQueue:
        """One backlog. The kernel is asked only where something waits: idle pools are many."""
        descriptor = listener.sock.fileno()
        limit = self._backlogs.get(descriptor)
        if limit is not None and not is_readable(descriptor):
            return ListenQueue(0, limit)
        try:
            queue = read_listen_queue(listener.sock)
        except OSError:  # no netlink in some containers: then nothing is known
            queue = ListenQueue(0, 0)
        self._backlogs[descriptor] = queue.limit
        return queue

    def watch_listeners(self, *, may_grow: bool, soon: bool) -> None:
        """Hear of the next connection if it could matter; `soon` waives the 20 ms."""
        if not may_grow:
            for listener in self._listeners:
                self._watch.disarm(listener.sock.fileno())
        elif self._rearm is None:
            loop = asyncio.get_running_loop()
            soon = soon and time.monotonic() - self._armed_s > _REARM_S
            self._rearm = loop.call_later(0 if soon else _REARM_S, self._arm)

    def lost_wakeup(self, *, waiting: bool, idle: bool) -> bool:
        """Whether connections waited beside an idle worker at two looks in a row (DESIGN 3)."""
        if not (waiting and idle):
            self._seen_idle_and_waiting = False
            return False
        if self._seen_idle_and_waiting:
            self._seen_idle_and_waiting = False
            return True
        self._seen_idle_and_waiting = True
        asyncio.get_running_loop().call_later(_REARM_S, self._look)
        return False

    def mind_channel(self, workers: Iterable[WorkerHandle]) -> None:
        """Give adopted connections to a worker that serves; without any, adopt.

        While a worker boots the channel is left alone: what is in it, that worker will take. So it
        is while the master keeps as many connections as it may.
        """
        states = {worker.state for worker in workers}
        loop = asyncio.get_running_loop()
        receive = self._channel.receive.fileno()
        if WorkerState.SERVING in states:
            loop.remove_reader(receive)
            self.adoption.return_readable()
        elif WorkerState.BOOTING in states or self.adoption.is_full or self._channel.is_broken:
            loop.remove_reader(receive)
        else:
            loop.add_reader(receive, self._adopt)

    def expire(self) -> None:
        """Close adopted connections that were idle for longer than keepalive_timeout."""
        self.adoption.notice_readable()  # what became readable in this turn waits, it is not idle
        self.adoption.expire(time.monotonic())

    def _adopt(self) -> None:
        self.adoption.adopt_waiting(time.monotonic(), self._keep_s)
        loop = asyncio.get_running_loop()
        if self.adoption.is_full or self._channel.is_broken or self.adoption.may_hold_more:
            # The reader would fire without end; a later look adds it again.
            loop.remove_reader(self._channel.receive.fileno())
        if self.adoption.may_hold_more:
            loop.call_later(_ADOPT_AGAIN_S, self._look)

    def _on_adopted(self) -> None:
        self.adoption.notice_readable()
        self._look()

    def _on_listener(self) -> None:
        self._watch.drain()
        self._look()

    def _arm(self) -> None:
        self._rearm = None
        self._armed_s = time.monotonic()
        if self._open:
            for listener in self._listeners:
                self._watch.arm(listener.sock.fileno())
