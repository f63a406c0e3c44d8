"""The worker's loop: one epoll for everything (DESIGN 3 and 4).

A connection is in exactly one place:

    parked     quiet: no request on it, nothing buffered; may go to another process at any time
    waiting    a request has begun to arrive; up to request_buffer_size it costs a buffer only
    lingering  answered before its body had arrived; read to its end so that the answer arrives
    (none)     being served

Who takes a connection out of `parked` owns it; the minder takes them from another thread.
"""

import os
import select
import socket
import time

from pyfpm.cgi import EnvironBuilder
from pyfpm.errors import BadRequest, ProtocolError
from pyfpm.fastcgi import (
    Abort,
    Begin,
    Event,
    Limits,
    Params,
    Send,
    Stdin,
    StdinEnd,
    encode_end,
)
from pyfpm.kernel.watch import disarm
from pyfpm.messages import (
    Drain,
    Draining,
    ListenerPlan,
    LogLine,
    Message,
    Poke,
    RequestLimits,
    Saturated,
    decode_message,
    encode_message,
)
from pyfpm.runtime.connection import Connection
from pyfpm.runtime.exchange import READ_BYTES, Exchange
from pyfpm.runtime.handoff import Channel
from pyfpm.runtime.intake import Intake, out_of_descriptors
from pyfpm.runtime.minder import Minder
from pyfpm.runtime.peer import PeerGoneError, write_all
from pyfpm.scoreboard import SlotWriter, Stage
from pyfpm.scoreboard.slot import Word

_NS = 1_000_000_000
_LINGER_S = 5.0
_PLACE_RETRY_S = 0.02
_SATURATED_EVERY_NS = 20_000_000
_HAND_OVER_COST_NS = 300_000
_IDLE = Stage.IDLE.code
_DRAINING = Stage.DRAINING.code


class Engine:
    """Runs requests until told to drain, then ends with its last connection."""

    def __init__(
        self,
        *,
        control: socket.socket,
        listeners: tuple[ListenerPlan, ...],
        channel: Channel,
        slot: SlotWriter,
        exchange: Exchange,
        builder: EnvironBuilder,
        limits: RequestLimits,
        use_minder: bool,
    ) -> None:
        self.parked: dict[int, Connection] = {}
        self.busy_since_ns = 0
        self._waiting: dict[int, Connection] = {}
        self._lingering: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self._control = control
        self._channel = channel
        self._intake = Intake(self._epoll, listeners, channel)
        self._sources = self._intake.sources
        self._slot = slot
        self._exchange = exchange
        self._build = builder.build
        self._limits = limits
        self._codec_limits = Limits(max_params_bytes=limits.max_params_bytes)
        self._values = {
            "FCGI_MAX_CONNS": str(limits.max_connections),
            "FCGI_MAX_REQS": str(limits.max_connections),
            "FCGI_MPXS_CONNS": "0",
        }
        self._keepalive_ns = int(limits.keepalive_timeout_s * _NS)
        self._held_bytes = 0
        self._next_sweep_ns = 0
        self._saturated_ns = 0
        self._draining = False
        self._hand_over = True
        self._drain_asked = ""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._minder = Minder(self) if use_minder else None
        self._minder_started = False
        self._serving: Connection | None = None
        self._may_arm = False

    # -- the loop ---------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until drained."""
        self._epoll.register(self._control.fileno(), select.EPOLLIN)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._intake.arm()
        while True:
            if self._drain_asked and not self._draining:
                self._start_drain()
            if self._draining and self._is_drained():
                return
            if self._may_arm:
                self._listen_again()
            self._turn(self._wait())

    def ask_to_drain(self, reason: str) -> None:
        """From a signal handler: drain when the running request is over."""
        self._drain_asked = reason
        os.eventfd_write(self._wake, 1)

    def _wait(self) -> list[tuple[int, int]]:
        self._slot.enter(_DRAINING if self._draining else _IDLE, time.monotonic_ns())
        if not self._next_sweep_ns:
            return self._epoll.poll()
        left_s = (self._next_sweep_ns - time.monotonic_ns()) / _NS
        if left_s > 0:
            events = self._epoll.poll(left_s)
            if events:
                return events
        self._sweep()
        return self._epoll.poll(0)

    def _turn(self, events: list[tuple[int, int]]) -> None:
        """One wake-up: at most one new connection, then everything that is readable."""
        ready: list[int] = []
        sources: list[int] = []
        for fd, _ in events:
            if fd in self.parked:
                ready.append(fd)
            elif fd in self._sources:
                sources.append(fd)
            else:
                self._other(fd)
        for source in sources:
            if self._take_new(source, ready):
                break
        if len(ready) > 1:
            self._offer_surplus(ready)
        words = self._slot.words
        while ready:
            fd = ready.pop(0)
            words[Word.PENDING] = len(ready)
            connection = self.parked.pop(fd, None)
            if connection is not None:
                self._receive(connection)

    def _other(self, fd: int) -> None:
        connection = self._waiting.pop(fd, None)
        if connection is not None:
            self._release_held(connection)
            self._receive(connection)
        elif fd in self._lingering:
            self._linger_on(self._lingering.pop(fd))
        elif fd == self._control.fileno():
            self._take_orders()
        elif fd == self._wake:
            os.eventfd_read(self._wake)

    def _take_new(self, source: int, ready: list[int]) -> bool:
        """Take one new connection from a source that was ready; False if there was none."""
        try:
            fd = self._intake.take_one(source)
        except OSError as error:
            if not out_of_descriptors(error):
                raise
            self._log("warning", "no descriptors left: not accepting until one is closed")
            self._intake.disarm()
            # The application may hold the descriptors, and then no close of ours tells when one
            # is free: look again with the next sweep.
            self._next_sweep_ns = time.monotonic_ns() + _NS
            return False
        if fd is None:
            return False
        self._admit(fd, ready)
        return True

    def _admit(self, fd: int, ready: list[int]) -> None:
        connection = Connection(fd, self._codec_limits, self._values)
        connection.deadline_ns = time.monotonic_ns() + int(self._limits.header_timeout_s * _NS)
        self._slot.words[Word.CONNECTIONS] += 1
        self.parked[fd] = connection
        ready.append(fd)  # web servers connect and send in one go, so there is something to read
        if self._open_connections() >= self._limits.max_connections:
            self._intake.disarm()

    def _listen_again(self) -> None:
        self._may_arm = False
        armed = self._intake.armed or self._draining
        if not armed and self._open_connections() < self._limits.max_connections:
            self._intake.arm()

    def _open_connections(self) -> int:
        return len(self.parked) + len(self._waiting) + len(self._lingering)

    # -- receiving --------------------------------------------------------------------------

    def _receive(self, connection: Connection) -> None:
        """Read once from a connection that is in no place, and go on from what came."""
        try:
            data = os.read(connection.fd, READ_BYTES)
        except BlockingIOError:
            self._keep(connection)
            return
        except OSError:
            self._close(connection)
            return
        if not data:
            self._close(connection)
            return
        try:
            serve = self._take_events(connection, connection.codec.receive(data))
        except ProtocolError as error:
            self._slot.words[Word.PROTOCOL_ERRORS] += 1
            self._log("warning", f"protocol error, connection closed: {error}")
            self._close(connection)
        except BadRequest as refusal:
            self._log("warning", f"request refused with {refusal.status}: {refusal}")
            self._after(connection, whole=self._exchange.refuse(connection, refusal))
        except PeerGoneError:
            self._close(connection)
        else:
            if serve:
                self._serve(connection)
            else:
                self._keep(connection)

    def _take_events(self, connection: Connection, events: list[Event]) -> bool:
        """Apply what the codec saw; True when the request is to be run now."""
        limits = self._limits
        for event in events:
            if isinstance(event, Begin):
                connection.request_id = event.request_id
                connection.keep = event.keep_conn
            elif isinstance(event, Params):
                connection.environ = self._build(event.pairs)
                self._exchange.check(connection)
            elif isinstance(event, StdinEnd):
                connection.body_done = True
            elif isinstance(event, Stdin):
                connection.body.append(event.data)
                connection.body_bytes += len(event.data)
            elif isinstance(event, Send):
                write_all(connection.fd, event.data, limits.write_timeout_s)
                if event.close:
                    raise PeerGoneError("the request was refused")
            elif isinstance(event, Abort):
                self._end_aborted(connection)
        if connection.environ is None:
            return False
        if connection.body_done:
            most = limits.max_body_bytes
            if most and connection.body_bytes > most:
                raise BadRequest(413, f"the body exceeds request_max_body ({most})")
            return True
        held = self._held_bytes + connection.body_bytes
        return connection.body_bytes > limits.buffer_size_bytes or held > limits.buffer_total_bytes

    def _end_aborted(self, connection: Connection) -> None:
        write_all(connection.fd, encode_end(connection.request_id), self._limits.write_timeout_s)
        keep = connection.keep
        connection.codec.request_ended()
        connection.clear_request()
        if not keep:
            raise PeerGoneError("aborted")

    def _serve(self, connection: Connection) -> None:
        minder = self._minder
        started_ns = time.monotonic_ns()
        self._serving = connection
        self.busy_since_ns = started_ns
        if minder is not None and minder.asleep:
            minder.wake()
        try:
            whole = self._exchange.answer(connection, started_ns)
        finally:
            self.busy_since_ns = 0
            self._serving = None
        self._after(connection, whole=whole)

    def _after(self, connection: Connection, *, whole: bool) -> None:
        """A response is out; keep the connection, linger on it, or close it."""
        connection.served += 1
        most = self._limits.keepalive_max_requests
        if not whole:
            self._close(connection)
        elif connection.keep and not (most and connection.served >= most):
            connection.codec.request_ended()
            connection.clear_request()
            connection.deadline_ns = time.monotonic_ns() + self._keepalive_ns
            self._keep(connection)
        elif connection.body_done:
            self._close(connection)
        else:
            self._start_linger(connection)

    def _keep(self, connection: Connection) -> None:
        """Wait for more on this connection, as parked or as waiting."""
        fd = connection.fd
        if not connection.registered:
            connection.registered = True
            self._epoll.register(fd, select.EPOLLIN)
        if connection.codec.is_quiet:
            self.parked[fd] = connection
            self._slot.words[Word.PARKED] = len(self.parked)
            if not self._minder_started and self._minder is not None:
                self._minder_started = True
                self._minder.start()
        else:
            self._hold(connection)
        if not self._next_sweep_ns or connection.deadline_ns < self._next_sweep_ns:
            self._next_sweep_ns = connection.deadline_ns

    def _hold(self, connection: Connection) -> None:
        """A half-sent request: count its bytes and give it until a deadline."""
        now_ns = time.monotonic_ns()
        if connection.environ is not None:
            connection.deadline_ns = now_ns + int(self._limits.body_timeout_s * _NS)
        elif connection.held_bytes == 0:
            # The first bytes of a request; later ones do not move the deadline for its head.
            connection.deadline_ns = now_ns + int(self._limits.header_timeout_s * _NS)
        held = max(1, connection.body_bytes + connection.codec.buffered_bytes)
        if self._held_bytes + held > self._limits.buffer_total_bytes + READ_BYTES:
            self._log("warning", "request_buffer_total reached: a half-sent request was dropped")
            self._close(connection)
            return
        connection.held_bytes = held
        self._held_bytes += held
        self._waiting[connection.fd] = connection

    def _release_held(self, connection: Connection) -> None:
        self._held_bytes -= connection.held_bytes

    # -- the ends of connections ------------------------------------------------------------

    def _close(self, connection: Connection) -> None:
        if connection.registered:
            # An application's child may hold the same open file for a moment: closing alone
            # would leave the registration behind, under a number that is used again.
            disarm(self._epoll, connection.fd)
        connection.close()
        self._slot.words[Word.PARKED] = len(self.parked)
        self._may_arm = not self._intake.armed

    def _start_linger(self, connection: Connection) -> None:
        """Closing with unread body would reset the connection and lose the answer (Apache: 503)."""
        try:
            with socket.socket(fileno=os.dup(connection.fd)) as duplicate:
                duplicate.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        connection.deadline_ns = time.monotonic_ns() + int(_LINGER_S * _NS)
        if not connection.registered:
            connection.registered = True
            self._epoll.register(connection.fd, select.EPOLLIN)
        self._lingering[connection.fd] = connection
        if not self._next_sweep_ns or connection.deadline_ns < self._next_sweep_ns:
            self._next_sweep_ns = connection.deadline_ns

    def _linger_on(self, connection: Connection) -> None:
        try:
            ended = not os.read(connection.fd, READ_BYTES)
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self._close(connection)
        else:
            self._lingering[connection.fd] = connection

    def _sweep(self) -> None:
        """Close what has outstayed its deadline, and find the next one."""
        now_ns = time.monotonic_ns()
        self._may_arm = not self._intake.armed
        for place in (self.parked, self._waiting, self._lingering):
            for fd in [fd for fd, held in place.copy().items() if held.deadline_ns <= now_ns]:
                connection = place.pop(fd, None)
                if connection is None:
                    continue
                if place is self._waiting:
                    self._release_held(connection)
                    self._time_out(connection)
                else:
                    self._close(connection)
        deadlines = [
            connection.deadline_ns
            for place in (self.parked, self._waiting, self._lingering)
            for connection in place.copy().values()
        ]
        if self._may_arm and not self._draining:
            deadlines.append(now_ns + _NS)
        self._next_sweep_ns = min(deadlines, default=0)

    def _time_out(self, connection: Connection) -> None:
        self._log("warning", "a request did not arrive in time; connection closed")
        if connection.request_id:
            refusal = BadRequest(408, "the request did not arrive in time")
            self._exchange.refuse(connection, refusal)
        self._close(connection)

    # -- hand-off ---------------------------------------------------------------------------

    def hand_over_room(self) -> int:
        """How many connections the surplus rule allows to offer now."""
        return self._channel.room()

    def hand_over(self, connection: Connection) -> bool:
        """Give a connection that is out of `parked` to the channel; False if it is parked again.

        It leaves our epoll first: once the other process has it, an event here would be for a
        descriptor number that we may be using for something else.
        """
        fd = connection.fd
        if connection.registered:
            disarm(self._epoll, fd)
        if not self._channel.offer(fd):
            connection.registered = True
            self._epoll.register(fd, select.EPOLLIN)
            self.parked[fd] = connection
            return False
        connection.close()
        words = self._slot.words
        words[Word.HANDED_OFF] += 1
        words[Word.PARKED] = len(self.parked)
        self._may_arm = not self._intake.armed
        return True

    def _offer_surplus(self, ready: list[int]) -> None:
        """Keep one of several readable connections, offer the last ones to idle workers.

        Only where it pays: the last of n waits for n-1 requests here, or for one hand-over. With
        hello requests of 30 µs a saturated pool otherwise hands every seventh request over.
        """
        if (len(ready) - 1) * self._exchange.mean_ns < _HAND_OVER_COST_NS:
            return
        room = self._channel.room()
        while room > 0 and len(ready) > 1:
            connection = self.parked.pop(ready[-1], None)
            if connection is not None and not self.hand_over(connection):
                return
            ready.pop()
            room -= 1

    def report_pending(self, count: int) -> None:
        """From the minder: `count` connections are readable here and nobody is idle."""
        self._slot.words[Word.PENDING] = count
        now_ns = time.monotonic_ns()
        if now_ns - self._saturated_ns >= _SATURATED_EVERY_NS:
            self._saturated_ns = now_ns
            self._tell(Saturated(count))

    # -- orders and drain -------------------------------------------------------------------

    def _take_orders(self) -> None:
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the master is gone: nobody would replace or reap us
            disarm(self._epoll, self._control.fileno())
            self._hand_over = False
            self._drain_asked = self._drain_asked or "the master is gone"
            return
        match decode_message(data):
            case Drain(hand_over):
                self._hand_over = hand_over
                self._drain_asked = "ordered"
            case Poke():
                self._intake.rearm()
            case _:
                pass

    def _start_drain(self) -> None:
        """Stop listening; what waited for us is still served (rule (b) of DESIGN 3)."""
        self._draining = True
        self._slot.enter(_DRAINING, time.monotonic_ns())
        if self._drain_asked != "ordered":
            self._tell(Draining(self._drain_asked))
        self._intake.disarm()
        ready: list[int] = []
        for fd in self._intake.take_all():
            self._admit(fd, ready)
        for fd in ready:
            connection = self.parked.pop(fd, None)
            if connection is not None:
                self._receive(connection)

    def _is_drained(self) -> bool:
        """Place the parked connections; True when no connection is left."""
        for fd in list(self.parked):
            connection = self.parked.pop(fd, None)
            if connection is None:
                continue
            if not self._hand_over:
                self._receive_last(connection)
            elif not self.hand_over(connection):
                break
        if self.parked:
            self._next_sweep_ns = time.monotonic_ns() + int(_PLACE_RETRY_S * _NS)
        return not (self.parked or self._waiting or self._lingering)

    def _receive_last(self, connection: Connection) -> None:
        """The service ends: serve what has been sent on this connection, else close it."""
        poller = select.poll()
        poller.register(connection.fd, select.POLLIN)
        if poller.poll(0):
            self._receive(connection)
        else:
            self._close(connection)

    # -- words to the master ----------------------------------------------------------------

    def _log(self, level: str, message: str) -> None:
        self._tell(LogLine(level, message))

    def _tell(self, message: Message) -> None:
        """Best effort: a master that does not read loses lines, and must not stop requests."""
        try:
            self._control.send(encode_message(message), socket.MSG_DONTWAIT)
        except OSError:
            self._slot.words[Word.LOOPS] += 1

    def close_in_child(self) -> None:
        """In a child that the application forked: let go of what belongs to the worker."""
        for descriptor in (self._wake, self._epoll.fileno(), self._control.fileno()):
            os.close(descriptor)
        self._channel.close()
        self._intake.close()
        if self._serving is not None:
            self._serving.close()
        for place in (self.parked, self._waiting, self._lingering):
            for connection in place.values():
                connection.close()
