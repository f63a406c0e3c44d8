"""One pool in the master: everything that happens to it ends in `look`.

A message, a death, a readable listener, a timer: each changes a little state in one of the
keepers and calls `look`, which shows the pool to the policy and does what the policy says. It may
be called at any time and any number of times.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from typing import assert_never

from pyfpm.config import PoolOptions
from pyfpm.errors import SpawnError
from pyfpm.logs import OUTPUT, Level, Log
from pyfpm.master.acts import act_on_processes
from pyfpm.master.channel_mender import ChannelMender
from pyfpm.master.crashes import CrashCounter
from pyfpm.master.demand import Demand
from pyfpm.master.doorman import Doorman
from pyfpm.master.generation import Generation
from pyfpm.master.generations import Generations
from pyfpm.master.handles import WorkerHandle, WorkerState, ZygoteHandle
from pyfpm.master.health import Health, PoolState
from pyfpm.master.identity import Identity
from pyfpm.master.ladder import Ladder
from pyfpm.master.listeners import Listener
from pyfpm.master.output import Emit, decorate
from pyfpm.master.processes import Processes
from pyfpm.master.report import publish
from pyfpm.master.rounds import Rounds
from pyfpm.master.setting import Setting
from pyfpm.master.shared import HandOffChannel, PoolMemory
from pyfpm.master.state import SavedPool
from pyfpm.master.view import scaled_limits, view_of
from pyfpm.master.workers import KILL_AFTER_TERM_S, WorkerKeeper
from pyfpm.policy import (
    Action,
    Limits,
    ProcessManager,
    Replace,
    ReportBusy,
    ReportMaxChildren,
    ReportProcessMax,
    Retire,
    Spawn,
    decide,
)
from pyfpm.units import counted

_RETRY_S = 1.0
_LEAST_PAUSE_S = 0.01
"""A look that asks for another at once would otherwise turn the loop into a spin."""


class Pool:
    """A pool from its opened listeners to its last reaped process."""

    def __init__(
        self,
        options: PoolOptions,
        identity: Identity,
        listeners: list[Listener],
        setting: Setting,
        channel: HandOffChannel | None = None,
        saved: SavedPool | None = None,
    ) -> None:
        """`saved` is the pool as the master before an exec left it; see master.resume."""
        self.name = options.name
        self._setting = setting
        self._log = Log(options.name)
        self._crashes = CrashCounter(setting, self._log, options.name)
        self.memory = PoolMemory(options, saved)
        self.health = Health(self._log, setting.settled)
        self.workers = WorkerKeeper(
            self.memory,
            setting,
            self._log,
            output=self._output_of,
            look=self.look,
            crashed=self._crashed,
        )
        first = None if saved is None else saved.generations[0]
        self.generations = Generations(
            self, setting, options, identity, listeners, channel=channel, saved=first
        )
        self.changing = asyncio.Lock()
        self.is_asked_to_change = False
        """Held by whoever replaces workers: one reload or restart at a time."""
        self.on_boot_failed: Callable[[str], None] | None = None
        """Hears of failed boots of the current generation while it takes over from another."""
        keep_s, channel = options.keepalive_timeout, self.generation.channel
        share, doorman = self.workers.messages, Doorman(self.name, setting)
        self.demand = Demand(listeners, channel, self.memory, keep_s, self.look, share, doorman)
        self._mender = ChannelMender(self, self._log, setting)
        self.ladder = Ladder(self.memory, self._log, self.generation.slow_log, act_on_processes())
        self._rounds = Rounds(
            lambda now_s: self.ladder.look(self.workers.by_serial.values(), now_s), self._log
        )
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.reload_failure = ""
        self._stopping: asyncio.Task[None] | None = None

    @property
    def generation(self) -> Generation:
        """The current generation: new workers come from it."""
        return self.generations.current

    @property
    def limits(self) -> Limits:
        """What the policy works within."""
        return self.generation.limits

    @property
    def options(self) -> PoolOptions:
        """What the current generation was started with."""
        return self.generation.options

    @property
    def worker_count(self) -> int:
        """Processes that count against process.max."""
        return len(self.workers.by_serial)

    @property
    def has_serving(self) -> bool:
        """Whether a worker answers requests."""
        workers = self.workers.by_serial.values()
        return any(worker.state is WorkerState.SERVING for worker in workers)

    def become(self, generation: Generation) -> None:
        """Make `generation` the current one; the policy works within its limits from now on."""
        old = self.limits
        self.generations.become(generation)
        self.ladder.slow_log = generation.slow_log
        self.health.begins_anew(limits_changed=old != self.limits)
        keep_s = generation.options.keepalive_timeout
        self.demand.change(generation.listeners, generation.channel, keep_s)

    @property
    def setting(self) -> Setting:
        """What it shares with the other pools."""
        return self._setting

    def room(self) -> int:
        """How many more processes process.max allows this pool."""
        return self._setting.room(self.name)

    def check_room(self, workers: int) -> None:
        """SpawnError if the scoreboard, which outlives reloads, has no room for so many."""
        if workers > self.memory.slots:
            raise SpawnError(
                f"{workers} workers, the surge of a reload included, are more than the"
                f" {self.memory.slots} that the pool was started with room for: set pm.max_children"
                " in its file, then stop and start the pool"
            )

    def scale(self, workers: int) -> None:
        """Have this many workers (static), or at most so many, until the next reload.

        SpawnError if the scoreboard has no room for so many.
        """
        limits = scaled_limits(self.limits, self.options, workers)
        self.check_room(workers + limits.reload_surge)
        self.generation.limits = limits
        self.look()

    def start(self) -> None:
        """Begin to watch the listeners and boot the zygote."""
        self.demand.open()
        self.look()

    # -- looking and acting -----------------------------------------------------------------

    def look(self) -> None:
        """Show the policy this pool and do what it says; never raises."""
        self._rounds.soon()
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - a pool must not stay unwatched for one failure
            self._log.error("look_failed", f"trying again in {_RETRY_S:g} s: {error!r}")
            self._schedule(time.monotonic() + _RETRY_S)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is asked after every look.

        SpawnError if the pool ends meanwhile.
        """
        while not condition():
            if self.health.is_ending:
                raise SpawnError("the pool is being stopped")
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _look(self) -> None:
        if self.health.is_ending:
            return
        self.generations.forget_ended(self.workers.by_serial.values())
        self._mind_zygotes()
        zygotes = self.generation.zygotes
        trial = self.generations.trial
        workers = [w for w in self.workers.by_serial.values() if w.generation is not trial]
        waiting = self.demand.is_waiting(workers)
        view = view_of(workers, self.memory.board, waiting=waiting, room=self.room())
        if zygotes.ready is None and waiting:
            zygotes.want()
        decision = decide(view, self.limits, self.health.memory, time.monotonic())
        if zygotes.ready is not None:
            # A decision that cannot be carried out is not remembered either.
            self.health.memory = decision.memory
            for action in decision.actions:
                self._apply(action)
        if decision.next_look_s is not None:
            self._schedule(decision.next_look_s)
        if zygotes.zygote is None and self.health.memory.degraded:
            self._schedule(self.health.memory.retry_s)
        self.demand.watch_listeners(may_grow=decision.may_grow, soon=not self.worker_count)
        if self.demand.lost_wakeup(waiting=waiting, idle=view.has_idle):
            self.workers.poke()
        channel = self.generation.channel
        self.demand.mind_channel(w for w in workers if w.generation.channel is channel)
        if not workers and self.options.pm is ProcessManager.ONDEMAND:
            zygotes.no_workers()
        publish(self)

    def _mind_zygotes(self) -> None:
        zygotes = self.generation.zygotes
        zygotes.ensure()
        trial = self.generations.trial
        if trial is not None:
            trial.zygotes.ensure()
        if self.options.pm is ProcessManager.ONDEMAND and zygotes.ready:
            self.health.serves()

    def _apply(self, action: Action) -> None:
        match action:
            case Spawn(count):
                if not self.workers.spawn(count, self.generation):
                    self._schedule(time.monotonic() + _RETRY_S)
            case Replace(key):
                if not self.workers.replace(key, self.generation):
                    self._schedule(time.monotonic() + _RETRY_S)
            case Retire(key):
                self.workers.retire(key)
            case ReportMaxChildren(limit):
                notice = self.memory.notice
                notice.publish(max_children_reached=notice.current.max_children_reached + 1)
                waiting = self.demand.waiting_text()
                self._log.warning(
                    "max_children",
                    f"reached pm.max_children ({limit}){waiting}: raise it or shorten requests",
                )
            case ReportProcessMax(wanted):
                most = self._setting.main.process_max
                more = counted(wanted, "more worker")
                self._log.warning("process_max", f"process.max ({most}) leaves no room for {more}")
            case ReportBusy(spawning, idle, total):
                self._log.warning(
                    "busy",
                    f"seems busy: spawning {spawning}, {idle} idle of {counted(total, 'worker')} "
                    "(consider a higher pm.start_servers or pm.min_spare_servers)",
                )
            case _:
                assert_never(action)

    def _crashed(self, worker: WorkerHandle) -> None:
        """One of an older generation says nothing of the zygote that there is now."""
        if worker.generation is self.generation:
            self._crashes.count(time.monotonic())

    def zygote_ended(self, generation: Generation, zygote: ZygoteHandle) -> None:
        """A zygote is gone, and what it had not reported with it."""
        if self.workers.forget_unclaimed(zygote):
            # Otherwise an application whose zygote dies of every fork would be restarted in a spin.
            text = "the zygote ended while it forked workers"
            generation.boots.boot_failed(text, time.monotonic())
        self.look()

    def _schedule(self, at_s: float) -> None:
        """Look again at `at_s` (monotonic), or earlier if that was planned already."""
        loop = asyncio.get_running_loop()
        delay_s = max(_LEAST_PAUSE_S, at_s - time.monotonic())
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.look()

    # -- showing ----------------------------------------------------------------------------

    def observe(self) -> None:
        """Once a second: what is sampled, and what would otherwise be noticed by nobody."""
        if self.health.is_ending:
            return
        self.demand.expire()
        self.generations.mind_access_logs(self.workers.by_serial.values())
        self._mender.look()
        self.workers.tell()
        if self.health.in_doubt and self.workers.has_proven():
            self.health.prove()
            self.look()
        aged = self.workers.notice_ages()
        if aged or self.demand.is_waiting(self.workers.by_serial.values()):
            self.look()
        else:
            publish(self)

    def _output_of(self, worker: WorkerHandle) -> Emit:
        def emit(stream: str, lines: str) -> None:
            if worker.options.decorate_workers_output:
                lines = decorate(lines, f"child {worker.pid} said into {stream}")
            self._output(stream, lines, worker.pid)

        return emit

    def print_of_zygote(self, generation: Generation, stream: str, lines: str) -> None:
        """A zygote printed something."""
        zygote = generation.zygotes.zygote
        self._output(stream, lines, zygote.pid if zygote is not None else None)

    def _output(self, stream: str, lines: str, pid: int | None) -> None:
        """What a process printed; shown whatever log_level is, since it is not our word."""
        self._log.write(Level.ALWAYS, OUTPUT, lines, stream=stream, pid=pid)

    # -- stopping ---------------------------------------------------------------------------

    async def stop(self, *, timeout_s: float, now: bool = False) -> None:
        """Drain; after `timeout_s` TERM, and KILL a second later. Listeners are closed.

        Whoever asks while that goes on waits for the same end; `now` kills, at any time.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(timeout_s))
            await asyncio.sleep(0)  # so that it has begun, and nothing new is started
        if now:
            self.signal_all(signal.SIGKILL)
        await asyncio.shield(self._stopping)

    async def _stop(self, timeout_s: float) -> None:
        """The socket files go first: a web server then fails over at once.

        Connections that wait in the backlog are still served.
        """
        self.health.state = PoolState.STOPPING
        if self._timer is not None:
            self._timer.cancel()
        self.look()  # whoever waits learns of it
        for generation in self.generations:
            for listener in generation.listeners:
                listener.remove_file()
            generation.zygotes.stop()
        self.workers.drain_all()
        await self._wait_ended(timeout_s)
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if not self._all_ended:
                left = counted(self.worker_count, "worker")
                self._log.warning("straggler", f"{left} left: {signum.name}")
                self.signal_all(signum)
                await self._wait_ended(KILL_AFTER_TERM_S)
        await self.generations.remove_folders()
        self.health.state = PoolState.STOPPED
        self.close()

    def signal_all(self, signum: signal.Signals) -> None:
        """Signal every process of the pool that is left."""
        for worker in self.workers.by_serial.values():
            Processes.end(worker, signum)
        for generation in self.generations:
            if generation.zygotes.zygote is not None:
                Processes.end(generation.zygotes.zygote, signum)

    def close(self) -> None:
        """Close what the master holds for the pool."""
        self._rounds.close()
        self.demand.close()
        self.workers.close()
        self.generations.close()

    @property
    def _all_ended(self) -> bool:
        return not (self.workers.by_serial or any(g.zygotes.zygote for g in self.generations))

    async def _wait_ended(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not self._all_ended:
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    await waiter
