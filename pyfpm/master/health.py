"""Is a pool well? Its state and reason for status, and what failed boots do to it.

Only boots count here. A worker that dies after it served is replaced at once and changes nothing;
a boot that fails makes the pool `degraded` until one succeeds, and slows its spawning down (the
policy's memory, which lives here because boots are what it remembers).
"""

import time
from collections.abc import Callable
from enum import Enum

from pyfpm.logs import Log
from pyfpm.policy import Memory, note_boot_failed, note_ready


class PoolState(Enum):
    """What a pool is doing, as status shows it."""

    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Health:
    """State of one pool. `on_settled` is called once, when the first boot has ended either way."""

    def __init__(self, log: Log, on_settled: Callable[[], None]) -> None:
        self.state = PoolState.STARTING
        self.memory = Memory()
        self.settled = False
        self._log = log
        self._on_settled = on_settled
        self._failure = ""
        self._remark = ""

    @property
    def reason(self) -> str:
        """Why the pool is not well, or what is special about it; empty for neither."""
        if self.state is PoolState.DEGRADED:
            return self._failure.strip().partition("\n")[0]
        return self._remark

    @property
    def is_ending(self) -> bool:
        """Nothing is started any more."""
        return self.state in (PoolState.STOPPING, PoolState.STOPPED)

    def remark(self, text: str) -> None:
        """Something that status should say although all is well."""
        self._remark = text

    def boot_failed(self, text: str, started_s: float) -> None:
        """A boot that began at `started_s` failed; `text` says why, with a traceback if any.

        The same failure again is one line, not another traceback.
        """
        if self.is_ending:
            return
        now_s = time.monotonic()
        self.memory = note_boot_failed(self.memory, now_s, started_s=started_s)
        wait_s = max(0.0, self.memory.retry_s - now_s)
        if text == self._failure:
            shown = f"{text.strip().partition(chr(10))[0]} (failure {self.memory.boot_failures})"
        else:
            shown = text
        self._failure = text
        self._log.alert("boot_failed", f"boot failed, next try in {wait_s:.1f} s: {shown}")
        self.state = PoolState.DEGRADED
        self._settle()

    def booted(self) -> None:
        """A worker, or a zygote that imported the application, is ready: boots work again."""
        self.memory = note_ready(self.memory)

    def serves(self) -> None:
        """Requests are answered, or will be as soon as one comes (ondemand)."""
        if self.is_ending:
            return
        if self.state is PoolState.DEGRADED:
            self._log.notice("recovered", "the application boots again")
        self.state = PoolState.RUNNING
        self._failure = ""
        self._settle()

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            self._on_settled()
