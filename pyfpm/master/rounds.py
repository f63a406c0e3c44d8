"""When the ladder looks: at the time that it names itself, and when a pool has changed."""

import asyncio
import time
from collections.abc import Callable

from pyfpm.logs import Log

_PAUSE_S = 0.05
_RETRY_S = 1.0


class Rounds:
    """Calls `look` with the monotonic time, never more often than every 50 ms."""

    def __init__(self, look: Callable[[float], float | None], log: Log) -> None:
        self._look = look
        self._log = log
        self._timer: asyncio.TimerHandle | None = None
        self._last_s = 0.0

    def soon(self) -> None:
        """A worker has come, perhaps with shorter limits: what was planned may be too late."""
        self._plan(self._last_s + _PAUSE_S)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self, at_s: float) -> None:
        loop = asyncio.get_running_loop()
        delay_s = max(0.0, at_s - time.monotonic())
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._last_s = time.monotonic()
        try:
            next_s = self._look(self._last_s)
        except Exception as error:  # noqa: BLE001 - limits must not end with one failure
            self._log.error("limits_failed", f"trying again in {_RETRY_S:g} s: {error!r}")
            next_s = self._last_s + _RETRY_S
        if next_s is not None:
            self._plan(next_s)
