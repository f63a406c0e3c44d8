"""request_queue_timeout: a request that waited too long is answered at once, without its work.

Its client has most likely given up, and serving it would make those behind it wait as long.
"""

import math
import time
from collections.abc import Callable

from pyfpm.cgi import waited_s
from pyfpm.errors import BadRequest

_EVERY_NS = 1_000_000_000


class QueueLimit:
    """Refuses what has waited longer than `timeout_s`; `complain` takes a line for the log.

    `wall_clock` counts seconds since the epoch, since it is compared with the web server's.
    """

    def __init__(
        self,
        timeout_s: float,
        complain: Callable[[str], None],
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._timeout_s = timeout_s
        self._complain = complain
        self._wall_clock = wall_clock
        self._clock = clock
        self._retry_after = str(max(1, math.ceil(timeout_s)))
        self._refused = 0
        self._next_line_ns = 0

    def check(self, environ: dict[str, object]) -> None:
        """BadRequest 503 with Retry-After for a request that has waited too long."""
        request_start = environ.get("REQUEST_START")
        if request_start is None:
            return
        waited = waited_s(str(request_start), self._wall_clock())
        if waited is None or waited <= self._timeout_s:
            return
        self._note(waited)
        headers = (("Retry-After", self._retry_after),)
        raise BadRequest(503, "too many requests are waiting: try again later", headers)

    def _note(self, waited: float) -> None:
        """One line a second, however many there are."""
        self._refused += 1
        now_ns = self._clock()
        if now_ns < self._next_line_ns:
            return
        more = f" ({self._refused} since the last such line)" if self._refused > 1 else ""
        self._complain(
            f"a request waited {waited:.3f} s, request_queue_timeout is {self._timeout_s:g} s:"
            f" refused with 503{more}"
        )
        self._refused = 0
        self._next_line_ns = now_ns + _EVERY_NS
