"""Reloads of the service: one at a time, and the last configuration wins (DESIGN 6).

A reload that is asked for while another runs waits for it, and whoever asks meanwhile joins the
one that waits: it reads the files when it begins, so a storm of twenty reloads costs two, and ends
in the configuration that was there last.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pyfpm.config import Config, PoolOptions
from pyfpm.control import ExitCode
from pyfpm.errors import ConfigError, ControlError, PyfpmError
from pyfpm.logs import Level, Log
from pyfpm.master.arguments import check_pools, check_running
from pyfpm.master.listeners import Listener
from pyfpm.master.pools import Pools
from pyfpm.master.succession import Progress, Replaced

_AT_ONCE = 4
"""Pools that boot side by side: more would only make each slower, and time some of them out."""

Result = dict[str, Any]
"""A JSON object for the client."""


@dataclass(slots=True, eq=False)
class _Asker:
    """Somebody who waits for a reload. `names` is empty for the whole service."""

    names: frozenset[str]
    progress: Progress
    done: asyncio.Future[Result]


@dataclass(slots=True, eq=False)
class _Batch:
    """One reload, and all who wait for it."""

    askers: list[_Asker] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """The pools that were named."""
        return {name for asker in self.askers for name in asker.names}

    @property
    def is_whole(self) -> bool:
        """Whether the whole service is to be reloaded."""
        return any(not asker.names for asker in self.askers)

    def join(self, names: Iterable[str], progress: Progress) -> asyncio.Future[Result]:
        """Wait with the others."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.askers.append(_Asker(frozenset(names), progress, done))
        return done

    def refuse(self, known: Collection[str], stopped: Collection[str]) -> None:
        """Whoever named a pool that there is not, or that is stopped, is told so alone."""
        for asker in self.askers[:]:
            try:
                check_pools(sorted(asker.names), sorted(known))
                check_running(asker.names, stopped)
            except ControlError as error:
                self.askers.remove(asker)
                asker.done.set_exception(error)
                asker.done.exception()  # nobody may be there to hear it

    def tell(self, text: str) -> None:
        """How far it is."""
        for asker in self.askers:
            asker.progress(text)

    def succeed(self, result: Result) -> None:
        """It is done."""
        for asker in self.askers:
            asker.done.set_result(result)

    def fail(self, error: PyfpmError) -> None:
        """It failed."""
        for asker in self.askers:
            asker.done.set_exception(error)
            asker.done.exception()  # a reload by signal has nobody who waits


class Reloader:
    """Performs reloads. `load` reads the configuration anew, `apply_main` makes `[pyfpm]` current.

    `begins` and `ends` are called around each reload.
    """

    def __init__(
        self,
        pools: Pools,
        load: Callable[[], Config],
        apply_main: Callable[[Config], list[str]],
        begins: Callable[[], None],
        ends: Callable[[], None],
    ) -> None:
        self.succeeded = 0
        self._pools = pools
        self._load = load
        self._apply_main = apply_main
        self._begins = begins
        self._ends = ends
        self._log = Log()
        self._waiting: _Batch | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a reload runs or waits."""
        return self._task is not None

    async def rest(self) -> None:
        """Wait until no reload runs or waits."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def reload(self, names: Iterable[str], progress: Progress) -> Result:
        """Reload the named pools, or the whole service; what serves and what still drains.

        ControlError if the configuration is refused or the new generation of a pool does not come
        up; that pool then goes on as it was.
        """
        if self._waiting is None:
            self._waiting = _Batch()
        done = self._waiting.join(names, progress)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        else:
            progress("a reload is under way: this one comes after it")
        return await asyncio.shield(done)

    async def _run(self) -> None:
        while self._waiting is not None:
            batch, self._waiting = self._waiting, None
            try:
                self._begins()
                result = await self._perform(batch)
            except PyfpmError as error:
                self._log.error("reload_failed", f"reload failed: {error}")
                batch.fail(error)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of a defect too
                self._log.error("reload_failed", f"reload failed: internal error: {error!r}")
                batch.fail(ControlError(f"{error!r}", ExitCode.INTERNAL))
            else:
                self.succeeded += 1
                self._log.notice("reloaded", "reload complete")
                batch.succeed(result)
            try:
                self._ends()
            except Exception as error:  # noqa: BLE001 - or no reload would ever come after this
                self._log.error("reload_failed", f"after a reload: {error!r}")
        self._task = None

    async def _perform(self, batch: _Batch) -> Result:
        def tell(text: str, level: Level = Level.NOTICE) -> None:
            self._log.write(level, "reload", f"reload: {text}")
            batch.tell(text)

        try:
            config = self._load()
        except ConfigError as error:
            raise ControlError(
                f"the configuration is refused, nothing has changed:\n{error}"
            ) from error
        for problem in config.own_problems:
            tell(str(problem), Level.ERROR)
        plan = self._plan(config, batch)
        if batch.is_whole:
            for text in self._apply_main(config):
                tell(text, Level.WARNING)
            self._pools.config = config
        else:
            self._pools.config = _with_pools(self._pools.config, config, batch.names)
        for name in plan.idle:
            self._pools.put_aside(config.pools[name])
        work = _Work(self._pools, plan, tell)
        await work.run()
        if work.failures:
            done = ", ".join(sorted(work.replaced)) or "none"
            raise ControlError("\n".join([*work.failures, f"reloaded: {done}"]))
        return {
            "pools": {
                name: {"generation": done.generation, "draining": done.draining}
                for name, done in work.replaced.items()
            },
            "draining": [line for name in work.replaced for line in self._pools.draining(name)],
        }

    def _plan(self, config: Config, batch: _Batch) -> "_Plan":
        pools = self._pools
        known = {*pools.names, *config.pools}
        batch.refuse(known, pools.stopped)
        names = known if batch.is_whole else batch.names
        plan = _Plan()
        for name in sorted(names):
            options = config.pools.get(name)
            if options is None:
                plan.gone.append(name)
            elif name in pools.running:
                plan.changed.append(options)
            elif name in pools.stopped or not (options.autostart or name in pools.late):
                plan.idle.append(name)
            else:
                plan.new.append(options)
        plan.changed.sort(key=lambda options: options.priority)
        plan.new.sort(key=lambda options: options.priority)
        return plan


def _with_pools(old: Config, new: Config, names: Collection[str]) -> Config:
    """The old configuration with these pools of the new one; lines are those of the files now."""
    pools = {name: options for name, options in new.pools.items() if name in names}
    origins, inherited = new.origins, new.inherited
    return replace(old, pools=old.pools | pools, origins=origins, inherited=inherited)


@dataclass(slots=True)
class _Plan:
    """What a reload does: pools that change, new ones, those that stay stopped, removed ones."""

    changed: list[PoolOptions] = field(default_factory=list)
    new: list[PoolOptions] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class _Tell(Protocol):
    """Tells whoever waits, and the log; what belongs to a failure at the level of failures."""

    def __call__(self, text: str, level: Level = Level.NOTICE) -> None: ...


class _Work:
    """Carries a plan out, pool by pool; one that fails does not keep the others."""

    def __init__(self, pools: Pools, plan: _Plan, tell: _Tell) -> None:
        self.failures: list[str] = []
        self.replaced: dict[str, Replaced] = {}
        self._pools = pools
        self._plan = plan
        self._tell = tell
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        running = self._pools.running
        # At once: one that is late might come up meanwhile, at the address of a new pool perhaps.
        gone = [name for name in self._plan.gone if not self._pools.forget(name)]
        leaving = [running[name] for name in gone if name in running]
        spare = [x for pool in leaving for x in pool.generation.listeners]
        await asyncio.gather(
            *(self._bring(options, spare) for options in self._plan.changed),
            *(self._bring(options, spare) for options in self._plan.new),
        )
        handed_on = self._pools.handed_on(spare, gone)
        await asyncio.gather(*(self._remove(name, handed_on) for name in gone))

    async def _bring(self, options: PoolOptions, spare: list[Listener]) -> None:
        """What becomes of the pool is decided when its turn comes.

        Since it was planned it may have been stopped, or opened if it came late.
        """
        async with self._places:
            await self._pools.look_up(options, spare)
            if options.name in self._pools.stopped:
                self._pools.stopped[options.name] = options
                self._tell(f"pool {options.name}: stopped meanwhile")
            elif options.name in self._pools.running:
                await self._reload(options, spare)
            else:
                await self._add(options, spare)

    async def _reload(self, options: PoolOptions, spare: list[Listener]) -> None:
        try:
            done = await self._pools.reload(options, self._tell, spare)
        except PyfpmError as error:
            text = str(error).strip()
            self._pools.note_failure(options.name, text)
            self._fail(options.name, f"{text}\n{self._pools.what_serves(options.name)}")
        else:
            self.replaced[options.name] = done
            self._pools.note_failure(options.name, "")
            self._tell(f"pool {options.name}: generation {done.generation} serves")

    async def _add(self, options: PoolOptions, spare: list[Listener]) -> None:
        try:
            await self._pools.add(options, self._tell, spare)
        except PyfpmError as error:
            self._fail(options.name, str(error))
        else:
            self.replaced[options.name] = Replaced(1, 0)
            self._tell(f"pool {options.name}: serves")

    async def _remove(self, name: str, handed_on: list[Listener]) -> None:
        if not self._pools.forget(name):
            self._tell(f"pool {name}: no longer configured, ending it")
            await self._pools.remove(name, handed_on)

    def _fail(self, name: str, text: str) -> None:
        self._tell(f"pool {name}: failed", Level.ERROR)
        self.failures.append(f"pool {name}: {text}")
