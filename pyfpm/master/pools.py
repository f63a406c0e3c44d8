"""All pools of the master: which run, which are stopped or late, and how they come and go."""

import asyncio
from collections.abc import Iterable, Sequence

from pyfpm.config import Config, PoolOptions, restore_pool
from pyfpm.control import ExitCode
from pyfpm.errors import ConfigError, ControlError, Problem, PyfpmError, SpawnError
from pyfpm.master.access_log import AccessLogError
from pyfpm.master.acts import trace_worker
from pyfpm.master.health import PoolState, summary_of
from pyfpm.master.identity import resolve_identity
from pyfpm.master.latecomers import Latecomers
from pyfpm.master.listeners import Listener, apply_settings, open_listeners
from pyfpm.master.pool import Pool
from pyfpm.master.private_folder import PrivateFolderError
from pyfpm.master.report import draining_lines, status_of, stopped_status
from pyfpm.master.revival import revive_pool
from pyfpm.master.setting import Setting
from pyfpm.master.state import SavedMaster
from pyfpm.master.succession import Progress, Replaced, reload_pool, renew_pool, restart_pool
from pyfpm.master.view import limits_of
from pyfpm.observe import PoolStatus
from pyfpm.policy import ProcessManager, claim_of, room_of


class Pools:
    """The pools of one configuration; `running` by name, and the options of those `stopped`.

    A pool that is neither is `late`: it could not be opened, and is tried again.
    """

    def __init__(self, config: Config, setting: Setting) -> None:
        self.config = config
        self.running: dict[str, Pool] = {}
        self.stopped: dict[str, PoolOptions] = {}
        self.late = Latecomers(self.look_up, self._try_late)
        self._setting = setting
        self._is_ending = False

    # -- the whole service ------------------------------------------------------------------

    def open(self) -> None:
        """Open the listeners of all pools; ConfigError with every failure if none can be opened.

        Where others can, one that cannot comes late: they must not pay for whoever is in its way.
        """
        failures: dict[str, PyfpmError] = {}
        for name, options in self.config.pools.items():
            if not options.autostart:
                self.stopped[name] = options
                continue
            try:
                self.running[name] = self._make(options)
            except PyfpmError as error:
                failures[name] = error
        if failures and not self.running:
            raise ConfigError(self._problem(name, why) for name, why in failures.items())
        for name, why in failures.items():
            self._come_late(self.config.pools[name], why)

    def start_all(self) -> None:
        """Start what was opened, by priority."""
        for pool in sorted(self.running.values(), key=lambda pool: pool.options.priority):
            pool.start()

    def revive(self, saved: SavedMaster) -> None:
        """Have the pools that the master before an exec left; `start_all` sets them going."""
        self.stopped = {name: restore_pool(name, texts) for name, texts in saved.stopped.items()}
        for one in saved.pools:
            self.running[one.name] = revive_pool(one, self._setting)
        for late in saved.late:
            self.late.resume(restore_pool(late.name, late.options), late.reason)

    @property
    def is_resting(self) -> bool:
        """Whether no generation of any pool takes over from another, and no pool is ending."""
        return not any(p.changing.locked() or p.health.is_ending for p in self.running.values())

    async def rest(self) -> None:
        """Wait until no generation takes over any more."""
        for pool in list(self.running.values()):
            async with pool.changing:
                pass

    async def stop_all(self) -> None:
        """End every pool, and wait for it; none is opened any more."""
        self._is_ending = True
        self.late.close()
        order = sorted(self.running.values(), key=lambda pool: -pool.options.priority)
        timeout_s = self._setting.main.process_control_timeout
        await asyncio.gather(*(pool.stop(timeout_s=timeout_s) for pool in order))
        await self._setting.disposals.rest()  # so that the next master finds every address free

    def close(self) -> None:
        """Close what a failure left open."""
        self.late.close()
        for pool in self.running.values():
            if pool.health.state is not PoolState.STOPPED:
                pool.close()

    # -- single pools -----------------------------------------------------------------------

    def find(self, name: str) -> Pool:
        """A running pool; ControlError if there is none of this name."""
        if name in self.stopped:
            raise ControlError(f"pool {name} is stopped: start it with `pyfpm start-pool {name}`")
        if name in self.late:
            raise ControlError(f"pool {name} cannot be opened yet: {self.late.reasons[name]}")
        if name not in self.running:
            known = ", ".join(self.names)
            raise ControlError(f"no pool {name!r}; there are: {known}", ExitCode.USAGE)
        return self.running[name]

    async def reload(
        self, options: PoolOptions, progress: Progress, spare: Sequence[Listener] = ()
    ) -> Replaced:
        """Give a running pool a new generation with `options`; PyfpmError if it cannot have one."""
        identity = resolve_identity(options, is_root=self._setting.is_root)
        return await reload_pool(self.find(options.name), options, identity, progress, spare)

    async def renew(self, name: str) -> None:
        """Give a pool a new zygote and new workers, with the options that it has."""
        await renew_pool(self.find(name))

    async def restart(self, name: str, progress: Progress) -> Replaced:
        """Replace the workers of a pool; SpawnError where that fails."""
        pool = self.find(name)
        if not pool.has_serving and pool.health.state is PoolState.DEGRADED:
            raise ControlError(f"pool {name} has no workers to replace: {pool.health.reason}")
        return await restart_pool(pool, progress)

    async def look_up(self, options: PoolOptions, spare: Iterable[Listener] = ()) -> None:
        """Ask for the host names that a pool listens on, save where it has, or gets, listeners.

        To be awaited before it is decided what becomes of the pool: that takes no time then.
        """
        pool = self.running.get(options.name)
        own = pool.generation.listeners if pool is not None else ()
        known = {listener.configured for listener in (*own, *spare)}
        await self._setting.hosts.look_up(one for one in options.listen if one not in known)

    async def add(
        self, options: PoolOptions, progress: Progress, spare: Sequence[Listener] = ()
    ) -> None:
        """Start a pool and wait until it serves; SpawnError if it does not, but it tries on.

        It takes over those `spare` listeners of pools on their way out that have its addresses.
        """
        if self._is_ending:
            raise SpawnError("the service is stopping")
        try:
            pool = self._make(options, spare)
        except PyfpmError as error:
            problem = self._come_late(options, error)
            raise SpawnError(f"{problem}; it is tried again until it can be opened") from error
        self._enter(pool)
        progress(f"pool {options.name}: starting")
        pool.start()
        await pool.until(lambda: pool.health.settled or not options.workers_at_start)
        if pool.health.state is PoolState.DEGRADED:
            raise SpawnError(pool.health.failure)

    def note_failure(self, name: str, text: str) -> None:
        """Have status say why the last reload of a pool failed; empty if it did not."""
        if name in self.running:
            self.running[name].reload_failure = summary_of(text)

    def what_serves(self, name: str) -> str:
        """What became of a pool whose reload failed."""
        pool = self.running.get(name)
        if pool is None or pool.health.is_ending:
            return "the pool is being stopped"
        if pool.has_serving or pool.options.pm is ProcessManager.ONDEMAND:
            return "the old generation serves on"
        return "the old generation does not boot either: nothing serves"

    def handed_on(self, spare: Sequence[Listener], leaving: Sequence[str]) -> list[Listener]:
        """Those `spare` listeners that pools which stay have taken over."""
        stay = [pool for name, pool in self.running.items() if name not in leaving]
        return [x for x in spare if any(x in pool.generation.listeners for pool in stay)]

    async def start(self, names: Sequence[str], progress: Progress) -> None:
        """Start stopped pools, and wait until they serve; ControlError if one does not."""
        if busy := [name for name in names if name in self.running]:
            raise ControlError(f"pool {busy[0]} is running")
        failures = []
        for name in names:
            try:
                await self._start(name, progress)
            except PyfpmError as error:
                failures.append(f"pool {name}: {error}")
        if failures:
            raise ControlError("\n".join(failures))

    async def _start(self, name: str, progress: Progress) -> None:
        if (wanted := self._resting(name)) is not None:
            await self.look_up(wanted)
        options = self._resting(name)
        if options is None:  # another command was quicker
            raise SpawnError("it is running")
        await self.add(options, progress)

    def _resting(self, name: str) -> PoolOptions | None:
        """The options of one that is stopped or late."""
        return self.stopped.get(name) or self.late.options(name)

    async def stop(self, names: Sequence[str], *, now: bool) -> None:
        """End pools, and wait for it; kill them if `now`."""
        if resting := [name for name in names if name in self.stopped]:
            raise ControlError(f"pool {resting[0]} is stopped already")
        late = {name: options for name in names if (options := self.late.options(name))}
        pools = [self.find(name) for name in names if name not in late]
        for options in late.values():
            self.put_aside(options)
        await asyncio.gather(*(self._stop(pool, now=now) for pool in pools))

    def put_aside(self, options: PoolOptions) -> None:
        """Have one that does not run be a stopped one, with these options."""
        self.late.forget(options.name)
        self.stopped[options.name] = options

    def forget(self, name: str) -> bool:
        """Give up one that is stopped or late; False if it is neither."""
        return self.late.forget(name) or self.stopped.pop(name, None) is not None

    async def remove(self, name: str, handed_on: Sequence[Listener]) -> None:
        """End a pool for good, but not the listeners that were `handed_on` to another."""
        pool = self.find(name)
        for generation in pool.generations:
            generation.listeners = [x for x in generation.listeners if x not in handed_on]
        await self._stop(pool, now=False)
        self.stopped.pop(name, None)

    async def _stop(self, pool: Pool, *, now: bool) -> None:
        timeout_s = self._setting.main.process_control_timeout
        await pool.stop(timeout_s=timeout_s, now=now)
        if self.running.get(pool.name) is pool:
            del self.running[pool.name]
            self.stopped[pool.name] = pool.options
        await self._setting.disposals.of(pool.name).rest()
        self._setting.settled()  # nobody waits for this one any more

    def scale(self, name: str, workers: int) -> None:
        """Change the number of workers of a pool, until the next reload; SpawnError if too many."""
        self.find(name).scale(workers)

    async def trace(self, name: str, pid: int | None) -> str:
        """What the workers of a pool, or the one with this pid, are doing now."""
        pool = self.find(name)
        workers = [w for w in pool.workers.by_serial.values() if w.pid and pid in (None, w.pid)]
        if pid is not None and not workers:
            raise ControlError(f"pool {name} has no worker with pid {pid}")
        board = pool.memory.board
        found = await asyncio.gather(*(trace_worker(worker, board) for worker in workers))
        return "\n\n".join(found) or f"pool {name} has no worker now"

    # -- asking -----------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Every pool, running, stopped or late, in the order of the configuration."""
        known = {*self.running, *self.stopped, *self.late.reasons}
        ordered = [name for name in self.config.pools if name in known]
        return ordered + sorted(known - set(ordered))

    def statuses(self, wanted: str | None = None) -> list[PoolStatus]:
        """What each pool, or the wanted one, says of itself."""
        return [self._status(name) for name in self.names if wanted in (None, name)]

    def _status(self, name: str) -> PoolStatus:
        if name in self.running:
            return status_of(self.running[name])
        if name in self.late:
            return self.late.status(name)
        return stopped_status(self.stopped[name])

    def draining(self, name: str) -> list[str]:
        """A line for each worker of the pool that drains."""
        return draining_lines(self.running[name]) if name in self.running else []

    def room(self, name: str) -> int:
        """How many more processes process.max allows this pool; none if it has ended."""
        most = self._setting.main.process_max
        if not most:
            return _UNBOUNDED
        claims = {x.name: claim_of(x.limits, x.worker_count) for x in self.running.values()}
        late = (claim_of(limits_of(options), 0) for options in self.late.wanted)
        own = claims.pop(name, None)
        if own is None:
            return 0
        others = (*claims.values(), *late)
        return room_of(own, others, most, takes_last=self.running[name].is_asked_to_change)

    def _try_late(self, options: PoolOptions) -> None:
        """Open and start one that came late; ConfigError where it still cannot be opened."""
        try:
            pool = self._make(options)
        except PyfpmError as error:
            self.late.explain(options.name, str(error))
            raise ConfigError([self._problem(options.name, error)]) from error
        self._enter(pool)
        pool.start()

    def _come_late(self, options: PoolOptions, error: PyfpmError) -> Problem:
        """Have one that is wanted, and could not be opened, tried again; what is wrong with it."""
        problem = self._problem(options.name, error)
        self.stopped.pop(options.name, None)
        self.late.wait(options, str(error), str(problem))
        return problem

    def _enter(self, pool: Pool) -> None:
        self.running[pool.name] = pool
        self.stopped.pop(pool.name, None)
        self.late.opened(pool.name)

    def _problem(self, name: str, error: PyfpmError) -> Problem:
        """Why a pool cannot be opened, at the option that says what was to be opened."""
        match error:
            case SpawnError():
                key = "listen"
            case AccessLogError():
                key = "access.log"
            case PrivateFolderError():
                key = "sandbox"
            case _:
                key = "slowlog"
        return self.config.problem(f"pool:{name}", key, str(error))

    def _make(self, options: PoolOptions, spare: Sequence[Listener] = ()) -> Pool:
        identity = resolve_identity(options, is_root=self._setting.is_root)
        passed, hosts = self._setting.passed, self._setting.hosts
        listeners = open_listeners(options, identity, spare, passed, hosts)
        try:
            for listener in listeners:
                if listener in spare:
                    apply_settings(listener, options, identity)
            return Pool(options, identity, listeners, self._setting)
        except (PyfpmError, OSError) as error:
            for listener in listeners:
                if listener not in spare:
                    listener.close()
            if isinstance(error, OSError):
                raise SpawnError(f"listener: {error.strerror}") from error
            raise


_UNBOUNDED = 1 << 30
