"""How a worker leaves: why, and what becomes of the connections that it holds.

A drain begins with an order of the master, a signal, or damage: RequestTimeout may have left a
lock held, and after a MemoryError nothing is certain. A damaged worker serves nothing more. It
gives away what it can, refuses what has begun to arrive, and closes what nobody can take.

What happens to idle kept connections is the master's to say (messages.Parked). Without word from
it they are handed over, since a worker that leaves by itself has siblings.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from pyfpm.kernel.watch import is_readable
from pyfpm.messages import Draining, Parked
from pyfpm.runtime.connection import Connection
from pyfpm.runtime.connection_table import ConnectionTable
from pyfpm.runtime.handoff import HandOff
from pyfpm.runtime.intake import Intake
from pyfpm.runtime.orders import Orders

TIMEOUT = "timeout"
OUT_OF_MEMORY = "out_of_memory"
PLACE_RETRY_S = 0.02
_PLACE_RETRY_NS = int(PLACE_RETRY_S * 1e9)
_ORDERED = "ordered"
_MASTER_GONE = "the master is gone"
_IN_HAND_S = 0.001
_PATIENCE_S = 0.2
"""A web server sends its request right after it has connected."""


class Departure:
    """From the first reason to leave until no connection is left."""

    def __init__(
        self, *, orders: Orders, intake: Intake, table: ConnectionTable, hand_off: HandOff
    ) -> None:
        self._orders = orders
        self._intake = intake
        self._table = table
        self._parked_places = table.parked
        self._hand_off = hand_off
        self._parked = Parked.HAND_OFF
        self.asked = ""
        """Why the worker is to leave; empty while it stays."""
        self.begun = False
        self._patience_s = 0.0
        self.damaged = False
        """It must not run the application any more."""

    @property
    def hands_over(self) -> bool:
        """Whether idle connections are for other workers of the pool."""
        return self._parked == Parked.HAND_OFF

    # -- reasons, any of them at any time ---------------------------------------------------

    def ask(self, reason: str) -> None:
        """A signal says so, in its handler: leave when the running request is over.

        Idle connections that were to be kept have had their time.
        """
        if self.begun and self._parked == Parked.KEEP:
            self._parked = Parked.CLOSE
        self.asked = self.asked or reason

    def obey(self, parked: str) -> None:
        """The master says so; `parked` is a value of messages.Parked. The last word counts."""
        if parked not in list(Parked):
            self._orders.log("error", f"an order to drain with {parked!r}: handed over instead")
            parked = Parked.HAND_OFF
        self._parked = Parked(parked)
        self._hand_off.closed = self._parked == Parked.KEEP
        self.asked = _ORDERED
        if self._hand_off.closed:
            # What was offered before, by us too, is in a channel that nobody may read: look again.
            self.begun = False

    def orphan(self) -> None:
        """The master is gone, and with it whoever could take a connection."""
        self._parked = Parked.CLOSE
        self.asked = self.asked or _MASTER_GONE

    def hurry(self, reason: str) -> None:
        """The process may be damaged: serve nothing more. Also called in a signal handler."""
        self.damaged = True
        if not self.begun and self.asked != _ORDERED:
            self.asked = reason

    # -- leaving ----------------------------------------------------------------------------

    def begin(self) -> Iterator[int]:
        """Stop listening; yields the new connections that waited for us (DESIGN 3, rule b)."""
        self.begun = True
        self._patience_s = time.monotonic() + _PATIENCE_S
        if self.asked != _ORDERED:
            self._orders.tell(Draining(self.asked))
        while self._hand_off.closed and self._hand_off.in_hand:
            # The minder may be about to send a connection into the channel, and after our look
            # into it nobody would look again. It gives up as soon as it sees `closed`.
            time.sleep(_IN_HAND_S)
        self._intake.disarm()
        yield from self._intake.take_all()
        with contextlib.suppress(OSError):  # no descriptor is free: they close with the process
            self._intake.let_go()

    def is_over(
        self, serve: Callable[[Connection], None], refuse: Callable[[Connection], None]
    ) -> bool:
        """Place the connections; True when none is left.

        `serve` takes one that is readable, `refuse` a half-sent request.
        """
        if self.damaged:
            for fd in list(self._table.waiting):
                connection = self._table.take_waiting(fd)
                if connection is not None:
                    refuse(connection)
        keeps = self._parked == Parked.KEEP and not self.damaged
        if not keeps:
            self._place_parked(serve)
        if len(self._table) == 0 and not self._hand_off.in_hand:
            # Looked at again, because the minder may just have put back what it had in hand.
            return len(self._table) == 0
        if not keeps or len(self._table) == 0:
            self._table.next_deadline_ns = time.monotonic_ns() + _PLACE_RETRY_NS
        return False

    def _place_parked(self, serve: Callable[[Connection], None]) -> None:
        for fd in list(self._parked_places):
            connection = self._parked_places.pop(fd, None)
            if connection is None:
                continue
            if self.hands_over:
                if not self._hand_off.give(connection):
                    break
            elif not self.damaged and is_readable(connection.fd):
                serve(connection)  # the service ends, but this request was sent before
            elif not (self.damaged or connection.served) and time.monotonic() < self._patience_s:
                self._table.park(connection)  # connected just now: its request is on the way
            else:
                self._table.close(connection)
