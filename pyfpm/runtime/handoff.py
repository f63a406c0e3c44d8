"""Giving connections to other workers: which, when, and how without losing one (DESIGN 4)."""

import time

from pyfpm.messages import Saturated
from pyfpm.runtime.channel import Channel
from pyfpm.runtime.connection import Connection
from pyfpm.runtime.connection_table import ConnectionTable
from pyfpm.runtime.orders import Orders
from pyfpm.scoreboard import SlotWriter
from pyfpm.scoreboard.slot import Word

# What a hand-off costs: a message, a wake-up, two registrations. Waiting here for less than that
# is cheaper. Without this bound a pool saturated with requests of 30 µs handed every seventh over,
# because between two requests its other workers look idle for an instant.
COST_NS = 300_000
_SATURATED_EVERY_NS = 20_000_000
# For each worker that the pool may have: a large pool that is saturated as a whole would otherwise
# keep its master from everything else, and one of them is enough to make it look.
_SATURATED_EVERY_NS_A_WORKER = 1_000_000
# pm.max_children may be millions, and its worker would say it once in an hour.
_SATURATED_EVERY_NS_MOST = 1_000_000_000


def saturated_every_ns(max_children: int) -> int:
    """How often a worker of a pool of this size says at most that it is saturated."""
    every_ns = max(_SATURATED_EVERY_NS, max_children * _SATURATED_EVERY_NS_A_WORKER)
    return min(every_ns, _SATURATED_EVERY_NS_MOST)


class HandOff:
    """Used by the engine and, while a request runs, by the minder's thread."""

    def __init__(
        self,
        channel: Channel,
        table: ConnectionTable,
        slot: SlotWriter,
        orders: Orders,
        max_children: int,
    ) -> None:
        self._channel = channel
        self._table = table
        self._words = slot.words
        self._orders = orders
        self._saturated_ns = 0
        self._every_ns = saturated_every_ns(max_children)
        self.closed = False
        """Nobody reads the channel any more: offer nothing."""
        self.in_hand = False
        """The minder decides about a connection, or has taken it out of `parked`."""

    def room(self) -> int:
        """How many connections the surplus rule allows to offer now."""
        return 0 if self.closed else self._channel.room()

    def give(self, connection: Connection) -> bool:
        """Give a connection that is out of `parked` away; False if it is parked again.

        It leaves our epoll first: once another process has it, an event here would be for a
        number that we may be using for something else.
        """
        self._table.unregister(connection)
        if not self._channel.offer(connection.fd, is_kept=connection.served > 0):
            self._table.park(connection)
            return False
        connection.close()
        self._words[Word.HANDED_OFF] += 1
        self._table.count_without_one()
        return True

    def offer_surplus(self, ready: list[int]) -> None:
        """Keep one of several readable connections, offer the last ones to idle workers.

        Worth it where the last one would otherwise wait for COST_NS or longer.
        """
        room = self.room()
        while room > 0 and len(ready) > 1:
            connection = self._table.parked.pop(ready[-1], None)
            if connection is not None and not self.give(connection):
                return
            ready.pop()
            room -= 1

    def report_pending(self, count: int) -> None:
        """`count` connections are readable here, the worker is busy and nobody is idle.

        Where nobody could take them anyway, more workers would not help, and nothing is said.
        """
        if self.closed:
            return
        self._words[Word.PENDING] = count
        now_ns = time.monotonic_ns()
        if now_ns - self._saturated_ns >= self._every_ns:
            self._saturated_ns = now_ns
            self._orders.tell(Saturated(count))
