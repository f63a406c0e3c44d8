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
from pyfpm.master.doorman import Doorman
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.listeners import Listener
from pyfpm.master.shared import HandOffChannel, PoolMemory
from pyfpm.master.turns import Share
from pyfpm.units import counted

_REARM_S = 0.02
_RETRY_S = 1.0
_COST_OF_A_DOORMAN = 100
"""In messages: a fork takes some 1.5 ms."""


class Demand:
    """Watches over the waiting connections of one pool; `look` is called when one appears.

    What is in the hand-off channel of a pool without workers is taken out in its turn, and paid for
    as messages are (`share`): whoever holds the other end can fill it as fast as it is read.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        channel: HandOffChannel,
        memory: PoolMemory,
        keepalive_timeout_s: float,
        look: Callable[[], None],
        share: Share,
        doorman: Doorman,
    ) -> None:
        self._listeners = listeners
        self._channel = channel
        self._memory = memory
        self._keep_s = keepalive_timeout_s
        self._look = look
        self._watch = OneShotWatch()
        self._share = share
        self._doorman = doorman
        self._adopts = False
        self.adoption = self._make_adoption()
        self._backlogs: dict[int, int] = {}  # by descriptor: how many may wait there
        self._rearm: asyncio.TimerHandle | None = None
        self._armed_s = 0.0
        self._seen_idle_and_waiting = False
        self._open = False

    def _make_adoption(self) -> Adoption:
        door = self._doorman
        return Adoption(
            self._channel.send, door.allowance, door.disposal.give_up, door.examiner, self._look
        )

    @property
    def adopted(self) -> int:
        """How many connections the master keeps for the pool."""
        return len(self.adoption)

    @property
    def is_adopting(self) -> bool:
        """Whether connections are on their way from the channel to the master."""
        return self._doorman.is_at_work

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
        loop.remove_reader(self.adoption.fileno())
        self._doorman.leave()
        self.adoption.close()
        self._leave_channel()
        self._channel = channel
        self.adoption = self._make_adoption()
        if self._open:
            loop.add_reader(self.adoption.fileno(), self._on_adopted)

    def close(self) -> None:
        """Stop watching and let go of the adopted connections."""
        if self._rearm is not None:
            self._rearm.cancel()
        if self._open:
            loop = asyncio.get_running_loop()
            for descriptor in (self._watch.fileno(), self.adoption.fileno()):
                loop.remove_reader(descriptor)
            self._leave_channel()
        self._doorman.leave()
        self._open = False
        self._watch.close()
        self.adoption.close()

    def is_waiting(self, workers: Iterable[WorkerHandle]) -> bool:
        """Whether a connection waits for a worker of this pool now.

        One in the channel does not while it is about to be adopted: that shows if it is idle.
        """
        board = self._memory.board
        return (
            any(is_readable(listener.sock.fileno()) for listener in self._listeners)
            or (self._channel.waiting > 0 and not self._adopts)
            or self.adoption.has_readable
            or any(board.pending(worker.slot) for worker in workers)
        )

    def waiting_text(self) -> str:
        """How many connections wait at the listeners and in the channel; empty if none does."""
        count = sum(queue.waiting for queue in self.queues()) + self._channel.waiting
        return f"; {counted(count, 'connection waits', 'connections wait')}" if count else ""

    def queues(self) -> list[ListenQueue]:
        """The backlog of each listener."""
        open_ones = (x for x in self._listeners if x.sock.fileno() >= 0)  # none of an ended pool
        return [self._queue_of(listener) for listener in open_ones]

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
        is while the master keeps as many connections as it may, or can let nobody in.
        """
        states = {worker.state for worker in workers}
        if WorkerState.SERVING in states:
            self._leave_channel()
            self.adoption.return_readable()
        elif WorkerState.BOOTING in states or not self._may_adopt:
            self._leave_channel()
        elif not self._adopts:
            self._adopts = True
            if not self._doorman.is_at_work:
                self._watch_channel()

    def expire(self) -> None:
        """Close adopted connections that were idle for longer than keepalive_timeout."""
        self.adoption.notice_readable()  # what became readable in this turn waits, it is not idle
        self.adoption.expire(time.monotonic())

    def _watch_channel(self) -> None:
        asyncio.get_running_loop().add_reader(self._channel.receive.fileno(), self._on_channel)

    def _unwatch_channel(self) -> None:
        asyncio.get_running_loop().remove_reader(self._channel.receive.fileno())

    def _leave_channel(self) -> None:
        self._adopts = False
        self._share.forget(self)
        self._unwatch_channel()

    def _on_channel(self) -> None:
        if self._share.is_open:
            self._adopt()
        else:
            self._unwatch_channel()
            self._share.wait(self)

    def take_turn(self) -> None:
        """Have connections taken out of the channel; see master.turns."""
        self._adopt()

    @property
    def _may_adopt(self) -> bool:
        is_full = self.adoption.room <= 0
        return not (is_full or self._channel.is_broken or self._doorman.is_stuck)

    def _adopt(self) -> None:
        self._unwatch_channel()
        if self._doorman.is_at_work:
            return
        channel, room = self._channel, self.adoption.room
        if not self._may_adopt or not self._doorman.send(channel, room, self._keep, self._let_in):
            self._leave_channel()  # it would be readable without end; a later look is back
            asyncio.get_running_loop().call_later(_RETRY_S, self._look)

    def _keep(self, descriptor: int) -> None:
        self.adoption.keep(descriptor, time.monotonic() + self._keep_s)

    def _let_in(self, taken: int, is_empty: bool) -> None:
        self._share.pay(_COST_OF_A_DOORMAN + taken)
        if not self._adopts:
            return
        if not self._may_adopt:
            self._leave_channel()
            self._look()
        elif is_empty:
            self._watch_channel()
        else:
            self._share.wait(self)

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
