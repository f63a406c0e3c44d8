"""One pool in the master: everything that happens to it ends in `look`.

A message, a death, a readable listener, a timer: each changes a little state in one of the
keepers and calls `look`, which shows the pool to the policy and does what the policy says. It may
be called at any time and any number of times.
"""

import asyncio
import contextlib
import signal
import time
from dataclasses import replace
from typing import assert_never

from pyfpm.config import PoolOptions
from pyfpm.kernel.process import resident_bytes
from pyfpm.logs import Level, Log
from pyfpm.master.demand import Demand
from pyfpm.master.handles import WorkerHandle
from pyfpm.master.health import Health, PoolState
from pyfpm.master.identity import Identity
from pyfpm.master.listeners import Listener
from pyfpm.master.output import Emit
from pyfpm.master.processes import Processes
from pyfpm.master.setting import Setting
from pyfpm.master.shared import PoolMemory
from pyfpm.master.view import limits_of, view_of
from pyfpm.master.workers import WorkerKeeper
from pyfpm.master.zygotes import ZygoteKeeper
from pyfpm.observe import PoolStatus, summarise
from pyfpm.policy import (
    Action,
    ProcessManager,
    ReportBusy,
    ReportMaxChildren,
    ReportProcessMax,
    Retire,
    Spawn,
    decide,
)
from pyfpm.scoreboard import SlotCopy

_KILL_AFTER_TERM_S = 1.0
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
    ) -> None:
        self.options = options
        self.listeners = listeners
        self._setting = setting
        self._log = Log(options.name)
        self._limits = limits_of(options)
        self._memory = PoolMemory(options)
        self.health = Health(self._log, setting.settled)
        self._demand = Demand(listeners, self._memory, options.keepalive_timeout, self.look)
        processes = Processes(options, identity, listeners, self._memory, setting)
        self._workers = WorkerKeeper(
            options,
            processes,
            self._memory,
            setting.reaper,
            self.health,
            self._log,
            output=self._output_of,
            look=self.look,
        )
        self._zygotes = ZygoteKeeper(
            options,
            processes,
            setting.reaper,
            self.health,
            self._log,
            emit=self._output_of_zygote,
            on_claim=self._workers.claim,
            on_spawn_failed=self._workers.failed_to_fork,
            on_ended=self._zygote_ended,
            look=self.look,
        )
        self._processes = processes
        self._timer: asyncio.TimerHandle | None = None
        self._all_ended = asyncio.Event()

    @property
    def worker_count(self) -> int:
        """Processes that count against process.max."""
        return len(self._workers.by_serial)

    def start(self) -> None:
        """Begin to watch the listeners and boot the zygote."""
        self._demand.open()
        self.look()

    # -- looking and acting -----------------------------------------------------------------

    def look(self) -> None:
        """Show the policy this pool and do what it says; never raises."""
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - a pool must not stay unwatched for one failure
            self._log.error("look_failed", f"trying again in {_RETRY_S:g} s: {error!r}")
            self._schedule(time.monotonic() + _RETRY_S)

    def _look(self) -> None:
        if self.health.is_ending:
            self._check_ended()
            return
        self._zygotes.ensure()
        if self.options.pm is ProcessManager.ONDEMAND and self._zygotes.ready:
            self.health.serves()
        workers = self._workers.by_serial.values()
        waiting = self._demand.is_waiting(workers)
        view = view_of(workers, self._memory.board, waiting=waiting, room=self._setting.room())
        if self._zygotes.ready is None and waiting:
            self._zygotes.want()
        decision = decide(view, self._limits, self.health.memory, time.monotonic())
        if self._zygotes.ready is not None:
            # A decision that cannot be carried out is not remembered either.
            self.health.memory = decision.memory
            for action in decision.actions:
                self._apply(action)
        if decision.next_look_s is not None:
            self._schedule(decision.next_look_s)
        if self._zygotes.zygote is None and self.health.memory.degraded:
            self._schedule(self.health.memory.retry_s)
        self._demand.watch_listeners(may_grow=decision.may_grow, soon=not self.worker_count)
        if self._demand.lost_wakeup(waiting=waiting, idle=bool(view.idle)):
            self._workers.poke()
        self._demand.mind_channel(workers)
        if not workers and self.options.pm is ProcessManager.ONDEMAND:
            self._zygotes.no_workers()
        self._publish()

    def _apply(self, action: Action) -> None:
        match action:
            case Spawn(count):
                zygote = self._zygotes.ready
                if zygote is not None and not self._workers.spawn(count, zygote):
                    self._schedule(time.monotonic() + _RETRY_S)
            case Retire(key):
                self._workers.retire(key)
            case ReportMaxChildren(limit):
                notice = self._memory.notice
                notice.publish(max_children_reached=notice.current.max_children_reached + 1)
                self._log.warning(
                    "max_children",
                    f"reached pm.max_children ({limit}); {self._demand.waiting_count()} "
                    "connections wait: raise it or shorten requests",
                )
            case ReportProcessMax(wanted):
                most = self._setting.main.process_max
                self._log.warning(
                    "process_max", f"process.max ({most}) leaves no room for {wanted} more workers"
                )
            case ReportBusy(spawning, idle, total):
                self._log.warning(
                    "busy",
                    f"seems busy: spawning {spawning}, {idle} idle of {total} workers "
                    "(consider a higher pm.start_servers or pm.min_spare_servers)",
                )
            case _:
                assert_never(action)

    def _zygote_ended(self) -> None:
        if self._workers.forget_unclaimed():
            # Otherwise an application whose zygote dies of every fork would be restarted in a spin.
            self.health.boot_failed("the zygote ended while it forked workers", time.monotonic())
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
        self._demand.expire()
        if self._demand.is_waiting(self._workers.by_serial.values()):
            self.look()
        else:
            self._publish()

    def status(self) -> PoolStatus:
        """The pool as a status page shows it."""
        self._publish()
        notice = self._memory.notice.current
        slots = [self._slot_of(worker) for worker in self._workers.by_serial.values()]
        return summarise(notice, slots, time.monotonic(), time.time())

    def _slot_of(self, worker: WorkerHandle) -> SlotCopy:
        """What the worker's slot says, but the pid and the memory as the kernel has them."""
        copy = self._memory.board.read(worker.slot)
        pid = worker.pid or copy.pid  # before the zygote's report, the worker's own word
        return replace(copy, pid=pid, last_memory_bytes=resident_bytes(pid) if pid else 0)

    def _publish(self) -> None:
        board = self._memory.board
        notice = self._memory.notice
        queues = self._demand.queues()
        waiting = sum(queue.waiting for queue in queues)
        workers = self._workers.by_serial.values()
        active = sum(board.stage(worker.slot).is_active for worker in workers)
        notice.publish(
            state=self.health.state.value,
            reason=self.health.reason,
            generation=self._zygotes.generation,
            adopted=self._demand.adopted,
            boot_ns=_bounded_ns(self._zygotes.boot_s or self._workers.boot_s),
            listen_queue=waiting,
            max_listen_queue=max(notice.current.max_listen_queue, waiting),
            listen_queue_length=sum(queue.limit for queue in queues),
            max_active=max(notice.current.max_active, active),
        )

    def _output_of(self, worker: WorkerHandle) -> Emit:
        def emit(stream: str, line: str) -> None:
            if self.options.decorate_workers_output:
                line = f'child {worker.pid} said into {stream}: "{line}"'
            self._output(stream, line, worker.pid)

        return emit

    def _output_of_zygote(self, stream: str, line: str) -> None:
        zygote = self._zygotes.zygote
        self._output(stream, line, zygote.pid if zygote is not None else None)

    def _output(self, stream: str, line: str, pid: int | None) -> None:
        """What a process printed; shown whatever log_level is, since it is not our word."""
        self._log.write(Level.ALWAYS, "output", line, stream=stream, pid=pid)

    # -- stopping ---------------------------------------------------------------------------

    async def stop(self, *, timeout_s: float) -> None:
        """Drain; after `timeout_s` TERM, and KILL a second later. Listeners are closed.

        The socket file goes first: a web server then fails over at once, while connections that
        wait in the backlog are still served.
        """
        self.health.state = PoolState.STOPPING
        if self._timer is not None:
            self._timer.cancel()
        for listener in self.listeners:
            listener.remove_file()
        self._zygotes.stop()
        self._workers.drain_all()
        self._check_ended()
        await self._wait_ended(timeout_s)
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if not self._all_ended.is_set():
                self._log.warning("straggler", f"{self.worker_count} workers left: {signum.name}")
                self.signal_all(signum)
                await self._wait_ended(_KILL_AFTER_TERM_S)
        self.health.state = PoolState.STOPPED
        self.close()

    def signal_all(self, signum: signal.Signals) -> None:
        """Signal every process of the pool that is left."""
        for worker in self._workers.by_serial.values():
            self._processes.end(worker, signum)
        if self._zygotes.zygote is not None:
            self._processes.end(self._zygotes.zygote, signum)

    def close(self) -> None:
        """Close what the master holds for the pool."""
        self._demand.close()
        self._memory.close()
        for listener in self.listeners:
            listener.close()

    async def _wait_ended(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._all_ended.wait()

    def _check_ended(self) -> None:
        if not self._workers.by_serial and self._zygotes.zygote is None:
            self._all_ended.set()


def _bounded_ns(boot_s: float) -> int:
    """A boot time that a process reported, as a number that fits."""
    return int(max(0.0, min(boot_s, 1e9)) * 1e9)
