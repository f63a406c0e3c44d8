"""Is a pool well? Its state and reason for status, and what failed boots do to it.

Only boots count here. A worker that dies after it served is replaced at once and changes nothing;
a boot that fails makes the pool `degraded` until one succeeds, and slows its spawning down (the
policy's memory, which lives here because boots are what it remembers). A worker that was ready and
died before its first request counts as a failed boot, and puts being ready in doubt.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, fields
from enum import Enum

from pyfpm.logs import Log
from pyfpm.master.state import SavedHealth
from pyfpm.policy import Memory, note_boot_failed, note_limits_changed, note_ready


class PoolState(Enum):
    """What a pool is doing, as status shows it."""

    STARTING = "starting"
    RUNNING = "running"
    RELOADING = "reloading"
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
        self.failure = ""
        self.in_doubt = False

    def save(self) -> SavedHealth:
        """For the next master."""
        return SavedHealth(self.state.value, self.failure, self.settled, asdict(self.memory))

    def resume(self, saved: SavedHealth) -> None:
        """Go on as the master before an exec left it."""
        self.state, self.failure = PoolState(saved.state), saved.failure
        self.settled = saved.settled
        known = {one.name for one in fields(Memory)}
        values = {k: v for k, v in saved.memory.items() if k in known}
        values["spawns"] = tuple((at_s, count) for at_s, count in values.get("spawns", ()))
        self.memory = Memory(**values)

    @property
    def reason(self) -> str:
        """Why the pool is not well; empty if it is."""
        if self.state is PoolState.DEGRADED:
            return summary_of(self.failure)
        return ""

    @property
    def retry_s(self) -> float:
        """Before this time (monotonic) nothing is started, because a boot has failed."""
        return self.memory.retry_s

    @property
    def is_ending(self) -> bool:
        """Nothing is started any more."""
        return self.state in (PoolState.STOPPING, PoolState.STOPPED)

    def boot_failed(self, text: str, started_s: float, *, was_ready: bool = False) -> None:
        """A boot that began at `started_s` failed; `text` says why, with a traceback if any.

        The same failure again is one line, not another traceback. A worker that `was_ready`, and
        died before it had served anything, counts as a failed boot too, and from then on being
        ready is no proof that boots work: `prove` is.
        """
        if self.is_ending:
            return
        self.in_doubt = self.in_doubt or was_ready
        now_s = time.monotonic()
        self.memory = note_boot_failed(self.memory, now_s, started_s=started_s)
        wait_s = max(0.0, self.memory.retry_s - now_s)
        if text == self.failure:
            shown = f"{summary_of(text)} (failure {self.memory.boot_failures})"
        else:
            shown = text
        self.failure = text
        what = "a worker died too soon" if was_ready else "boot failed"
        self._log.alert("boot_failed", f"{what}, next try in {wait_s:.1f} s: {shown}")
        self.state = PoolState.DEGRADED
        self._settle()

    def begins_anew(self, *, limits_changed: bool) -> None:
        """Another generation: what was remembered of the boots of the one before says nothing."""
        self.in_doubt = False
        self.memory = note_ready(self.memory)
        if limits_changed:
            self.memory = note_limits_changed(self.memory)
        self.serves()

    def booted(self) -> None:
        """A worker, or a zygote that imported the application, is ready: boots work again."""
        if not self.in_doubt:
            self.memory = note_ready(self.memory)

    def prove(self) -> None:
        """A worker has served requests, or has lived for a while."""
        if self.in_doubt:
            self.in_doubt = False
            self.booted()
            self.serves()

    def serves(self) -> None:
        """Requests are answered, or will be as soon as one comes (ondemand)."""
        if self.is_ending or self.in_doubt:
            return
        if self.state is PoolState.DEGRADED:
            self._log.notice("recovered", "the application boots again")
        self.state = PoolState.RUNNING
        self.failure = ""
        self._settle()

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            self._on_settled()


def summary_of(failure: str) -> str:
    """The first line of a text with a traceback, which says where, and the last, which says why."""
    first, *rest = failure.strip().splitlines() or [""]
    return f"{first}: {rest[-1].strip()}" if rest else first
