"""The worker's loop: one epoll for listeners, hand-off channel, connections and orders (DESIGN 3).

Each turn takes at most one new connection, before any application code runs, and then serves
every connection that is readable. `ConnectionTable` holds the connections between turns.
"""

import os
import select
import time

from pyfpm.errors import BadRequest, ProtocolError
from pyfpm.kernel.watch import disarm
from pyfpm.messages import Drain, Poke, RequestLimits
from pyfpm.runtime.assembly import Assembly
from pyfpm.runtime.body_stream import READ_BYTES
from pyfpm.runtime.connection import Connection
from pyfpm.runtime.connection_table import NS, ConnectionTable
from pyfpm.runtime.departure import PLACE_RETRY_S, Departure
from pyfpm.runtime.exchange import Exchange
from pyfpm.runtime.handoff import COST_NS, HandOff
from pyfpm.runtime.intake import Intake, out_of_descriptors
from pyfpm.runtime.minder import Minder
from pyfpm.runtime.orders import Orders
from pyfpm.runtime.peer import PeerGoneError
from pyfpm.runtime.recycling import Recycling
from pyfpm.runtime.room import Room
from pyfpm.runtime.wake import Wake
from pyfpm.scoreboard import SlotWriter, Stage
from pyfpm.scoreboard.slot import Word

# Where this is compiled, finding a function in its module takes as long as calling it.
_read = os.read
_monotonic_ns = time.monotonic_ns
_LONGEST_WAIT_NS = 86_400 * NS  # select.epoll takes 24 days at most
_PENDING = int(Word.PENDING)
_CONNECTIONS = int(Word.CONNECTIONS)
_IDLE = Stage.IDLE.code
_READING = Stage.READING.code
_DRAINING = Stage.DRAINING.code
_TRY_AGAIN = (("Retry-After", "1"),)


class Engine:
    """Runs requests until told to drain, then ends with its last connection."""

    def __init__(
        self,
        *,
        epoll: select.epoll,
        orders: Orders,
        intake: Intake,
        table: ConnectionTable,
        hand_off: HandOff,
        assembly: Assembly,
        exchange: Exchange,
        departure: Departure,
        recycling: Recycling | None,
        slot: SlotWriter,
        limits: RequestLimits,
        use_minder: bool,
    ) -> None:
        self.busy_since_ns = 0  # read by the minder
        self._epoll = epoll
        self._orders = orders
        self._intake = intake
        self._sources = intake.sources
        self._table = table
        self._parked = table.parked
        self._hand_off = hand_off
        self._assembly = assembly
        self._exchange = exchange
        self._departure = departure
        self._recycling = recycling
        self._slot = slot
        self._limits = limits
        self._header_ns = int(limits.header_timeout_s * NS)
        self._keepalive_ns = int(limits.keepalive_timeout_s * NS)
        self._keepalive_most = limits.keepalive_max_requests
        self._serving: Connection | None = None
        self._is_child = False
        self._connections = 0  # that have come so far
        self._next_line_ns = 0
        self._room = Room(table, exchange.refusals)
        self._wake = Wake()
        minder = Minder(self, table.parked, hand_off) if use_minder else None
        self._minder = self._unstarted = minder

    # -- the loop ---------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until drained."""
        departure = self._departure
        self._epoll.register(self._orders.fileno(), select.EPOLLIN)
        self._epoll.register(self._wake.fileno(), select.EPOLLIN)
        self._wake.hear_signals()
        self._intake.arm()
        while True:
            if departure.asked and not departure.begun:
                self._start_drain()
            if departure.begun and departure.is_over(self._receive, self._turn_away):
                return
            if self._table.closed_one:
                self._listen_again()
            self._turn(self._wait())

    def ask_to_drain(self, reason: str) -> None:
        """From a signal handler: drain when the running request is over."""
        if not self._is_child:
            self._departure.ask(reason)
            self._wake.ring()

    def _wait(self) -> list[tuple[int, int]]:
        self._exchange.account_cpu()
        now_ns = _monotonic_ns()
        self._slot.put(_PENDING, 0)  # whatever was readable is in the next events
        self._slot.enter(self._resting_stage(), now_ns)
        deadline_ns = self._table.next_deadline_ns
        if not (self._intake.armed or self._departure.begun):
            # Something may be free again without a close of ours, or by the minder's hand.
            deadline_ns = min(deadline_ns or now_ns + NS, now_ns + NS)
        if not deadline_ns:
            return self._epoll.poll()
        if deadline_ns > now_ns:
            events = self._epoll.poll(min(deadline_ns - now_ns, _LONGEST_WAIT_NS) / NS)
            if events:
                return events
        self._sweep()
        return self._epoll.poll(0)

    def _resting_stage(self) -> int:
        """What the worker is between two turns.

        One that takes no connections is not idle: nobody should wait for it, offer it anything or
        do without spawning because of it. Like a PHP-FPM child on a kept connection it is reading.
        """
        if self._departure.begun:
            return _DRAINING
        return _IDLE if self._intake.armed else _READING

    def _turn(self, events: list[tuple[int, int]]) -> None:
        """Take at most one new connection, then run whatever can be read."""
        parked = self._parked
        ready = [fd for fd, _ in events if fd in parked]
        resumed: list[int] = []
        sources: list[int] = []
        if len(ready) != len(events):
            self._sort_others(events, resumed, sources)
        if self._departure.asked and not self._departure.begun:
            return  # the drain gives away what is there: somebody may expect newer code to answer
        if self._departure.damaged:
            # What is still here waits for room in the channel, and would wake us until then.
            time.sleep(PLACE_RETRY_S)
            return
        for source in sources:
            if self._take_new(source, ready):
                break
        if (len(ready) - 1) * self._exchange.mean_ns >= COST_NS:
            self._hand_off.offer_surplus(ready)
        self._serve_ready(ready, len(resumed))
        for fd in resumed:
            if self._departure.damaged:
                break
            connection = self._table.take_waiting(fd)
            if connection is not None:
                self._receive(connection)

    def _serve_ready(self, ready: list[int], later: int = 0) -> None:
        """Serve readable parked connections, before `later` others, until the worker is damaged."""
        departure = self._departure
        slot = self._slot
        left = len(ready) + later
        for fd in ready:
            if departure.damaged:
                break
            left -= 1
            slot.put(_PENDING, left)
            connection = self._parked.pop(fd, None)
            if connection is not None:
                self._receive(connection)

    def _sort_others(
        self, events: list[tuple[int, int]], resumed: list[int], sources: list[int]
    ) -> None:
        """Put half-sent requests that go on into `resumed`, and sources into `sources`.

        What is neither of them nor parked is dealt with here, since it runs no application code.
        """
        for fd, _ in events:
            if fd in self._sources:
                sources.append(fd)
            elif fd in self._table.waiting:
                resumed.append(fd)
            elif fd not in self._parked:
                self._take_other(fd)

    def _take_other(self, fd: int) -> None:
        """An event for which no application code runs; or a stale one of a parked connection."""
        if fd in self._table.lingering:
            self._table.read_lingering(fd)
        elif fd == self._orders.fileno():
            self._take_order()
        elif fd == self._wake.fileno():
            self._wake.heed()

    def _sweep(self) -> None:
        """Close what has outstayed its deadline."""
        late, idle = self._table.expired(_monotonic_ns())
        for connection in late:
            self._exchange.refusals.note_late(connection.fd)
            if connection.request_id:
                self._exchange.refuse(connection, BadRequest(408, "did not arrive in time"))
        for connection in (*late, *idle):
            self._table.close(connection)
        self._table.settle()

    # -- new connections --------------------------------------------------------------------

    def _take_new(self, source: int, ready: list[int]) -> bool:
        """Take one new connection from a source that was ready; False if there was none."""
        try:
            fd = self._intake.take_one(source)
        except OSError as error:
            if not out_of_descriptors(error):
                raise
            if not self._room.make("no descriptors left"):
                self._pause_listening("no descriptors left")
            return False
        if fd is not None:
            # A kept connection from another worker may be left idle by its web server.
            is_kept = self._intake.took_kept
            self._admit(fd, ready, self._keepalive_ns if is_kept else self._header_ns)
        return fd is not None

    def _admit(self, fd: int, ready: list[int], patience_ns: int) -> None:
        connection = self._assembly.new_connection(fd)
        connection.deadline_ns = _monotonic_ns() + patience_ns
        if self._intake.took_kept:
            connection.served = 1  # elsewhere, and perhaps more
        self._connections += 1
        self._slot.put(_CONNECTIONS, self._connections)
        # Not registered yet: web servers connect and send in one go, and a connection that is
        # closed after its answer never needs to be.
        self._parked[fd] = connection
        ready.append(fd)
        if len(self._table) >= self._limits.max_connections and not self._room.make():
            self._intake.disarm()

    def _pause_listening(self, reason: str) -> None:
        """Left registered, the listener would wake this worker without end; one line a second."""
        if (now_ns := _monotonic_ns()) >= self._next_line_ns:
            self._next_line_ns = now_ns + NS
            self._orders.log("warning", f"{reason}: not accepting until a connection is closed")
        self._intake.disarm()
        # The application may hold the descriptors: look in a second, however much there is to do.
        self._table.next_deadline_ns = now_ns + NS

    def _listen_again(self) -> None:
        self._table.closed_one = False
        may_listen = not (self._intake.armed or self._departure.begun)
        most = self._limits.max_connections
        if may_listen and (len(self._table) < most or self._room.make()):
            self._intake.arm()

    # -- receiving and serving --------------------------------------------------------------

    def _receive(self, connection: Connection) -> None:
        """Read once from a connection that is in no place, and go on from what came."""
        try:
            data = _read(connection.fd, READ_BYTES)
        except BlockingIOError:
            self._keep(connection)
            return
        except OSError:
            data = b""
        if not data:
            self._table.close(connection)
            return
        try:
            whole = connection.codec.receive_whole(data)
            if whole is not None:
                self._assembly.take_whole(connection, whole)
            elif not self._assembly.take(connection, data, self._table.held_bytes):
                self._keep(connection)
                return
        except ProtocolError as error:
            self._exchange.refusals.note_broken(error, connection.fd)
            self._table.close(connection)
        except BadRequest as refusal:
            self._exchange.refusals.note_request(refusal, connection.fd)
            self._after(connection, self._exchange.refuse(connection, refusal))
        except PeerGoneError:
            self._table.close(connection)
        else:
            self._serve(connection)

    def _serve(self, connection: Connection) -> None:
        minder = self._minder
        self._serving = connection
        self.busy_since_ns = started_ns = _monotonic_ns()
        if minder is not None and minder.asleep:
            minder.wake()
        try:
            whole = self._exchange.answer(connection, started_ns)
        finally:
            self.busy_since_ns = 0
            self._serving = None
        if self._recycling is not None:
            self._recycling.look(self._exchange.ended_ns)
        self._after(connection, whole)

    def _after(self, connection: Connection, whole: bool) -> None:
        """A response is out, wholly or not; keep the connection, linger on it, or close it."""
        connection.served += 1
        most = self._keepalive_most
        if not whole:
            self._table.close(connection)
        elif connection.keep and not (most and connection.served >= most):
            connection.codec.request_ended()
            connection.clear_request()
            connection.deadline_ns = self._exchange.ended_ns + self._keepalive_ns
            self._keep(connection)
        elif connection.body_done:
            self._table.close(connection)
        else:
            self._table.linger(connection)

    def _keep(self, connection: Connection) -> None:
        """Wait for more on this connection, as parked or as waiting."""
        if connection.codec.is_quiet():
            self._table.park(connection)
            if self._unstarted is not None:
                self._start_minder(self._unstarted)
        elif not self._table.hold(connection):
            self._exchange.refusals.note_no_room(connection.fd)
            self._table.close(connection)

    def _start_minder(self, minder: Minder) -> None:
        self._unstarted = None
        try:
            minder.start_once()
        except RuntimeError as error:  # the user or the container may have no thread left
            self._minder = None
            self._orders.log("warning", f"no minder, parked connections wait here: {error}")

    # -- orders and drain -------------------------------------------------------------------

    def _take_order(self) -> bool:
        """Whether there was one."""
        try:
            order = self._orders.take()
        except EOFError:  # the master is gone: nobody would replace or reap us
            disarm(self._epoll, self._orders.fileno())
            self._departure.orphan()
            return False
        match order:
            case Drain(parked):
                self._departure.obey(parked)
            case Poke():
                self._intake.rearm()
        return order is not None

    def _start_drain(self) -> None:
        """Stop listening; what waited for us is handed over or served (DESIGN 3, rule b).

        Handed over where it can be: after a reload nobody should be answered by old code.
        """
        self._recycling = None
        while self._take_order():
            pass  # one that came during the last request may say what to do with the connections
        self._slot.enter(_DRAINING, _monotonic_ns())
        ready: list[int] = []
        for fd in self._departure.begin():
            self._admit(fd, ready, self._keepalive_ns)
        if not self._departure.hands_over:
            self._serve_ready(ready)

    def _turn_away(self, connection: Connection) -> None:
        """Answer a half-sent request with 503: this process must not run it."""
        refusal = BadRequest(503, "the worker has to be replaced: try again", _TRY_AGAIN)
        if connection.request_id and self._exchange.refuse(connection, refusal):
            self._table.linger(connection)
        else:
            self._table.close(connection)

    def close_in_child(self) -> None:
        """In a child that the application forked: let go of what belongs to the worker.

        Once: in a grandchild the same numbers may be descriptors of the application's own.
        """
        if self._is_child:
            return
        self._is_child = True
        self._exchange.abandon()
        self._epoll.close()
        self._orders.close()
        self._wake.close_in_child()
        self._intake.close()
        if self._serving is not None:
            self._serving.close()
        self._table.close_in_child()
