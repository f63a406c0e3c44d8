"""The minder: while a request takes long, it gives the worker's other connections away (DESIGN 4).

A thread per worker, started with the first parked connection. It is asleep while the worker is
idle, looks every 20 ms while requests run, and watches the parked connections only where a request
has run for some milliseconds. So a fast request costs the engine one attribute test and no system
call. Looking more often has a price: on a machine with nothing to spare the kernel may suspend this
thread while it holds the GIL, and the engine with it. At 5 ms between looks the p99 of a saturated
pool was twice to seven times that of one without a minder.

Who owns a connection is decided by taking it out of `parked`: dict.pop is one step for every
other thread (under the GIL, and by the dict's own lock without one). The engine and the minder
both pop before they touch a descriptor, and who gets None leaves it alone. Therefore no
descriptor is closed twice, which would cost a worker and its requests (EBADF).

The engine may have an event for a connection that the minder has given away, and by then the
same number may be another connection: it finds nothing to read there and parks it again.
"""

import select
import threading
import time
from typing import Protocol

from pyfpm.runtime.connection import Connection
from pyfpm.runtime.handoff import HandOff

TICK_S = 0.02
_PATIENCE_NS = 5_000_000
_RETRY_S = 0.005
_WATCH_MS = 50
_DROWSY_TICKS = 10


class Busy(Protocol):
    """What the minder sees of the engine."""

    busy_since_ns: int  # when the running request began; 0 while none runs


class Minder:
    """Watches over one engine, from its first parked connection to the end of the worker."""

    def __init__(self, engine: Busy, parked: dict[int, Connection], hand_off: HandOff) -> None:
        self._engine = engine
        self._parked = parked
        self._hand_off = hand_off
        self._wake: threading.Event
        self.asleep = False

    def start_once(self) -> None:
        """Start the thread with the first parked connection."""
        # Made here and not before: a worker without kept connections never pays for them.
        self._wake = threading.Event()
        threading.Thread(target=self.run, name="pyfpm minder", daemon=True).start()

    def wake(self) -> None:
        """Called by the engine when a request begins and `asleep` is set."""
        self.asleep = False
        self._wake.set()

    def run(self) -> None:
        """The thread: tick, and watch where a request does not end."""
        engine = self._engine
        quiet_ticks = 0
        while True:
            time.sleep(TICK_S)
            since = engine.busy_since_ns
            if since == 0 or not self._parked:
                quiet_ticks += 1
                if quiet_ticks > _DROWSY_TICKS:
                    self._sleep()
                    quiet_ticks = 0
            else:
                quiet_ticks = 0
                if time.monotonic_ns() - since >= _PATIENCE_NS:
                    self._watch(since)

    def _sleep(self) -> None:
        # The engine sets busy_since_ns and then tests `asleep`; here `asleep` is set and then
        # busy_since_ns tested. Whichever order the two threads run in, one of them sees the other.
        self._wake.clear()
        self.asleep = True
        if self._engine.busy_since_ns == 0 or not self._parked:
            self._wake.wait()
        self.asleep = False

    def _watch(self, since: int) -> None:
        """Give away what becomes readable while the request that began at `since` runs."""
        engine = self._engine
        while engine.busy_since_ns == since:
            watched = self._parked.copy()
            if not watched:
                return
            poller = select.poll()
            for fd in watched:
                poller.register(fd, select.POLLIN)
            ready = [fd for fd, _ in poller.poll(_WATCH_MS)]
            if engine.busy_since_ns != since:
                return
            left = [fd for fd in ready if not self._give_away(fd, watched[fd])]
            if left:
                self._hand_off.report_pending(len(left))
                time.sleep(_RETRY_S)

    def _give_away(self, fd: int, connection: Connection) -> bool:
        """Whether this readable connection needs no more care of ours."""
        if self._parked.get(fd) is not connection:
            return True  # the engine got to it first
        # Said before the connection leaves `parked`: a worker that drains looks at both, and must
        # not end in between. And before the channel is looked at: a worker that closes its hand-off
        # waits until nothing is in hand, and then knows that nothing more is sent.
        self._hand_off.in_hand = True
        try:
            if self._hand_off.room() <= 0:
                return False
            taken = self._parked.pop(fd, None)
            return taken is None or self._hand_off.give(taken)
        finally:
            self._hand_off.in_hand = False
