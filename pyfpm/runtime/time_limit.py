"""When RequestTimeout may be raised, and where it may land (DESIGN 5).

The master watches the clock and sends ReservedSignal.REQUEST_TIMEOUT. Python runs the handler in
the main thread between any two of its instructions, so what it raises lands anywhere. Three rules
keep it where it belongs:

* `is_open` is True only while code of the application may run. It is set inside a `try` whose
  `finally` clears it, and the handler clears it before it raises: whatever clauses stand further
  out run undisturbed.
* `is_held` is True while a step of ours must be whole although the application called it (a
  response record, a piece of the body). What is asked for meanwhile is raised by `release`. A
  step that has to wait for the peer lets go for that long (`waiting`), with its state in order.
* A signal may arrive when its request has ended and the next one runs. So the request must be
  overdue by the worker's own clock, and it is interrupted once at most.

A signal that arrives just before a system call blocks is noticed only when that returns. That
cannot be closed from Python; the master repeats the signal until the request ends.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from pyfpm.scoreboard.slot import Word

_NS = 1_000_000_000
# The master's timer and ours read the same clock; this is for rounding on the way.
_TOLERANCE_NS = 5_000_000
_MOST_S = 1e9  # thirty years; beyond it a word of the slot would overflow some day
_STARTED = int(Word.REQUEST_STARTED_NS)
_EXTENDED_REQUEST = int(Word.EXTENDED_REQUEST_NS)
_EXTENDED_UNTIL = int(Word.EXTENDED_UNTIL_NS)


class RequestTimeout(BaseException):
    """The running request took longer than request_terminate_timeout.

    A BaseException, so that an application that catches Exception everywhere lets it through.
    """

    __module__ = "pyfpm"  # where applications import it from


class TimeLimit:
    """The time limit of this worker's requests; `clock` counts nanoseconds as the slot does.

    `is_open` and `is_held` are attributes rather than methods because each request sets them.
    """

    __slots__ = (
        "_asked_ns",
        "_clock",
        "_interrupted",
        "_is_running",
        "_limit_ns",
        "_lock",
        "_raised_ns",
        "_words",
        "is_held",
        "is_open",
    )

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self.is_open = False
        self.is_held = False
        self._words: memoryview | None = None
        self._limit_ns = 0
        # Both are the start of the request that they are about; the next one has another.
        self._asked_ns = 0
        self._raised_ns = 0
        self._lock = threading.Lock()

    def attach(
        self,
        words: memoryview,
        limit_s: float,
        *,
        is_running: Callable[[], bool],
        interrupted: Callable[[], None],
    ) -> None:
        """Begin to work in a worker.

        `words` are those of its slot, `limit_s` is request_terminate_timeout or 0. `interrupted`
        is called before each RequestTimeout, in the signal handler.
        """
        self._limit_ns = int(limit_s * _NS)
        self._is_running = is_running
        self._interrupted = interrupted
        self._words = words

    def detach(self) -> None:
        """In a child that the application forked: the request is not ours."""
        self._words = None
        self.is_open = False

    def on_signal(self, signum: int, frame: FrameType | None) -> None:
        """The handler: RequestTimeout, now or when the step that must be whole is done."""
        del signum, frame
        words = self._words
        if words is None or not self._limit_ns:
            return
        started_ns = words[_STARTED]
        if started_ns == self._raised_ns or not self._is_overdue(words):
            return
        if self.is_open and not self.is_held:
            self._raise(started_ns)
        self._asked_ns = started_ns

    def reopen(self) -> None:
        """Code of the application runs once more, after its response.

        What was asked for in between is dropped: that code shall at least begin.
        """
        if self._words is not None and self._words[_STARTED] != self._raised_ns:
            self._asked_ns = 0
            self.is_open = True

    def release(self) -> None:
        """The step is whole; raises what was asked for meanwhile."""
        self.is_held = False
        if self._asked_ns:
            self._look()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """For waiting within a step that is held: nothing is half done here."""
        was_held = self.is_held
        self.is_held = False
        try:
            self._look()
            yield
        finally:
            self.is_held = was_held

    def extend(self, seconds: float) -> None:
        """The running request may take until `seconds` from now; see pyfpm.extend_timeout."""
        words = self._words
        if words is None:
            raise RuntimeError("extend_timeout: this process is no worker of a pyfpm pool")
        started_ns = words[_STARTED]
        if not self._is_running():
            raise RuntimeError("extend_timeout: no request is running")
        if not 0 < seconds < math.inf:  # NaN compares false
            raise ValueError(f"extend_timeout: {seconds!r} is not a finite number above 0")
        if not self._limit_ns:
            return
        until_ns = self._clock() + int(min(seconds, _MOST_S) * _NS)
        with self._lock:  # threads of the application may call this at the same time
            before_ns = self._deadline_ns(words)
            if before_ns < until_ns:
                words[_EXTENDED_UNTIL] = until_ns
                words[_EXTENDED_REQUEST] = started_ns

    def _deadline_ns(self, words: memoryview) -> int:
        started_ns: int = words[_STARTED]
        if words[_EXTENDED_REQUEST] == started_ns:
            until_ns: int = words[_EXTENDED_UNTIL]
            return until_ns
        return started_ns + self._limit_ns

    def _is_overdue(self, words: memoryview) -> bool:
        return self._clock() >= self._deadline_ns(words) - _TOLERANCE_NS

    def _look(self) -> None:
        """Raise what was asked for while it could not land, if it is for this request."""
        words = self._words
        if words is None or not self._asked_ns or not self.is_open:
            return
        # A thread of the application may write the response; it is not what takes too long.
        is_main = threading.get_ident() == threading.main_thread().ident
        if is_main and words[_STARTED] == self._asked_ns != self._raised_ns:
            self._raise(self._asked_ns)

    def _raise(self, started_ns: int) -> None:
        self.is_open = False
        self._raised_ns = started_ns
        self._interrupted()
        limit_s = self._limit_ns / _NS
        words = self._words
        extended = words is not None and words[_EXTENDED_REQUEST] == started_ns
        more = ", as extended" if extended else ""
        raise RequestTimeout(f"it took longer than request_terminate_timeout ({limit_s:g} s{more})")


time_limit = TimeLimit()
"""Of the request that runs in this process: the one piece of state that belongs to no object.

The functions of `import pyfpm` and the signal handler have nothing else to go by.
"""
