"""Pools that are wanted and could not be opened: tried again and again.

A local user, or what an earlier master left, may hold the address of one pool, or a file may stand
in its way. The others start, or are reloaded; this one comes later, when what it needs is there.
So whoever is in the way harms one pool, for as long as he is. It makes no difference whether the
pool was wanted by the start of the service, by a reload that brought it, or by `start-pool`.

A pool that runs, and is to have another address that cannot be opened, is none of these: its old
generation serves on at the old one. Code comes into service when somebody asks for it, not in the
minute in which a stranger lets a port go.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pyfpm.config import PoolOptions, snapshot_options
from pyfpm.logs import Log
from pyfpm.master.report import late_status
from pyfpm.master.state import SavedLatecomer
from pyfpm.observe import PoolStatus

_FIRST_S = 1.0
_LAST_S = 30.0


@dataclass(slots=True, eq=False)
class _Latecomer:
    options: PoolOptions
    reason: str
    delay_s: float
    timer: asyncio.TimerHandle
    task: asyncio.Task[None] | None = None


class Latecomers:
    """Those of one master, by name; `attempt` opens and starts one, or says why it cannot.

    `attempt` raises what is wrong, with the place in the configuration; where it succeeds it calls
    `opened`. `prepare` is awaited before: it may take its time, in which the pool may be opened,
    forgotten or changed by others, who need not know of this try.
    """

    def __init__(
        self,
        prepare: Callable[[PoolOptions], Awaitable[None]],
        attempt: Callable[[PoolOptions], None],
    ) -> None:
        self._prepare = prepare
        self._attempt = attempt
        self._waiting: dict[str, _Latecomer] = {}

    def __contains__(self, name: str) -> bool:
        """Whether this pool waits to be opened."""
        return name in self._waiting

    @property
    def reasons(self) -> dict[str, str]:
        """Why each of them could not be opened, by name."""
        return {name: late.reason for name, late in self._waiting.items()}

    @property
    def wanted(self) -> list[PoolOptions]:
        """What each of them is to be opened with."""
        return [late.options for late in self._waiting.values()]

    def options(self, name: str) -> PoolOptions | None:
        """What the pool is to be opened with; None if it does not wait."""
        late = self._waiting.get(name)
        return None if late is None else late.options

    def status(self, name: str) -> PoolStatus:
        """What a waiting pool says of itself."""
        late = self._waiting[name]
        return late_status(late.options, late.reason)

    def statuses(self) -> list[PoolStatus]:
        """What all of them say."""
        return [self.status(name) for name in self._waiting]

    def wait(self, options: PoolOptions, reason: str, problem: str) -> None:
        """Have a pool tried again; `problem` is the reason with its place in the configuration.

        One that waits already begins anew, with these options: somebody has just looked after it.
        """
        self.forget(options.name)
        self._expect(options, reason)
        self._complain(options.name, problem, _FIRST_S)

    def explain(self, name: str, reason: str) -> None:
        """Why it still cannot be opened."""
        self._waiting[name].reason = reason

    def opened(self, name: str) -> None:
        """It waits no more."""
        if self.forget(name):
            Log(name).notice("opened", "opened at last, and started")

    def forget(self, name: str) -> bool:
        """It is not wanted any more; False if it did not wait."""
        late = self._waiting.pop(name, None)
        if late is None:
            return False
        late.timer.cancel()
        if late.task is not None and late.task is not asyncio.current_task():
            late.task.cancel()
        return True

    def close(self) -> None:
        """Try none of them any more."""
        for name in list(self._waiting):
            self.forget(name)

    def save(self) -> tuple[SavedLatecomer, ...]:
        """For the next master."""
        return tuple(
            SavedLatecomer(name, snapshot_options(late.options), late.reason)
            for name, late in self._waiting.items()
        )

    def resume(self, options: PoolOptions, reason: str) -> None:
        """Go on as the master before an exec, which has said what is wrong."""
        self._expect(options, reason)

    def _expect(self, options: PoolOptions, reason: str) -> None:
        timer = self._plan(options.name, _FIRST_S)
        self._waiting[options.name] = _Latecomer(options, reason, _FIRST_S, timer)

    def _plan(self, name: str, delay_s: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, self._try, name)

    def _try(self, name: str) -> None:
        late = self._waiting[name]
        late.task = asyncio.create_task(self._open(late))

    async def _open(self, late: _Latecomer) -> None:
        """One try; whoever opens, forgets or changes the pool meanwhile cancels it."""
        name = late.options.name
        try:
            await self._prepare(late.options)
            self._attempt(late.options)
        except Exception as error:  # noqa: BLE001 - a defect must not have a pool given up
            if name in self._waiting:
                late.delay_s = min(2 * late.delay_s, _LAST_S)
                late.timer = self._plan(name, late.delay_s)
            self._complain(name, str(error) or repr(error), late.delay_s)

    @staticmethod
    def _complain(name: str, problem: str, delay_s: float) -> None:
        Log(name).error("not_opened", f"cannot be opened, next try in {delay_s:.1f} s: {problem}")
