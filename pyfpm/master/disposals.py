"""What the master gives up of what tenants had in their hands: listeners, channels, connections.

The close of any of them may be made to wait for hours (kernel.disposal), so children of the master
do it: one at a time for each pool, for all that has come together meanwhile. One that does not end
is said in the log, and keeps others of its pool waiting, nobody else. While that is so the pool is
*behind*: nothing more may be let in for it that would have to be given up again.

Where there can be no child, for want of memory or processes, nothing is closed: it is tried again.
"""

import asyncio
from contextlib import suppress

from pyfpm.kernel.disposal import dispose
from pyfpm.kernel.forking import has_ended
from pyfpm.logs import Log
from pyfpm.master.reaper import Death, Reaper

GATHER_S = 0.1
"""A fork for each connection that a web server closes would cost more than serving it."""
_RETRY_S = 1.0
PATIENCE_S = 5.0


class Disposal:
    """Gives up what belongs to one pool."""

    def __init__(self, pool: str, reaper: Reaper) -> None:
        self._log = Log(pool)
        self._reaper = reaper
        self._waiting: list[int] = []
        self._child: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self.is_behind = False
        """Something could not be given up for some time."""

    def give_up(self, *descriptors: int) -> None:
        """Close sockets, soon; they are nobody's else by now."""
        self._waiting += descriptors
        self._plan(GATHER_S)

    async def rest(self) -> None:
        """Wait until all is closed, but not for ever."""
        if self._child is None:
            self._begin()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while self._waiting or self._child is not None:
                    self._ended.clear()
                    await self._ended.wait()

    def finish(self) -> None:
        """Close what waits, now, whoever else is at it; OSError where there can be no child."""
        if self._waiting:
            self._dispose()

    def _plan(self, delay_s: float) -> None:
        if self._timer is None and self._child is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        try:
            self._child = pid = self._dispose()
        except OSError as error:
            if not self.is_behind:
                self.is_behind = True
                text = f"sockets of it cannot be closed yet: fork: {error.strerror}"
                self._log.error("disposal", text)
            self._plan(_RETRY_S)
            return
        late = asyncio.get_running_loop().call_later(PATIENCE_S, self._be_late)

        def ended(death: Death) -> None:
            del death
            late.cancel()
            self._child = None
            self._ended.set()
            if self.is_behind:
                self.is_behind = False
                self._log.notice("disposal", f"process {pid} has closed them at last")
            self._plan(0)

        self._reaper.watch(pid, ended)

    def _dispose(self) -> int:
        # No death is missed: only the loop reaps, and it does not turn between the fork and watch.
        pid = dispose(self._waiting)
        self._waiting.clear()
        return pid

    def _be_late(self) -> None:
        if self._child is None or has_ended(self._child):
            return  # it was the master that stood still
        self.is_behind = True
        self._log.error(
            "disposal",
            f"process {self._child} has been closing sockets of it for {PATIENCE_S:g} s, which its"
            " processes have prepared so: no connections are kept for it until that has ended",
        )


class Disposals:
    """One for each pool, by its name: it outlives the pool, whose last sockets it has."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._of: dict[str, Disposal] = {}

    def of(self, pool: str) -> Disposal:
        """The one of a pool."""
        return self._of.setdefault(pool, Disposal(pool, self._reaper))

    def finish(self) -> None:
        """Before an exec, which would close in place what still waits; OSError as of a fork."""
        for disposal in self._of.values():
            disposal.finish()

    async def rest(self) -> None:
        """Wait until all is closed, but not for ever."""
        await asyncio.gather(*(disposal.rest() for disposal in self._of.values()))
