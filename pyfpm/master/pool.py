"""One pool in the master: its processes, and what happens when something happens to them.

Everything arrives as an event (a message, a death, a readable listener, a timer), changes a
little state, and ends in `look`: the policy is shown the pool and says what to do. `look` may be
called at any time and any number of times.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from enum import Enum

from pyfpm.config import PoolOptions
from pyfpm.kernel.sock_diag import read_listen_queue
from pyfpm.kernel.watch import OneShotWatch, is_readable
from pyfpm.logs import Level, Log
from pyfpm.master.adoption import Adoption
from pyfpm.master.handles import OnMessage, WorkerHandle, WorkerState, ZygoteHandle
from pyfpm.master.identity import Identity
from pyfpm.master.listeners import Listener
from pyfpm.master.output import Emit
from pyfpm.master.plans import preload_of
from pyfpm.master.processes import Processes
from pyfpm.master.reaper import Death
from pyfpm.master.setting import Setting
from pyfpm.master.shared import PoolMemory
from pyfpm.master.view import limits_of, view_of
from pyfpm.messages import (
    BootFailed,
    Draining,
    LogLine,
    Message,
    Ready,
    Saturated,
    Spawned,
    SpawnFailed,
    UnsafePreload,
)
from pyfpm.observe import PoolStatus, summarise
from pyfpm.policy import (
    Action,
    Memory,
    ProcessManager,
    ReportBusy,
    ReportMaxChildren,
    ReportProcessMax,
    Retire,
    Spawn,
    decide,
    note_boot_failed,
    note_ready,
)

_REARM_S = 0.02
_KILL_AFTER_TERM_S = 1.0


class PoolState(Enum):
    """What a pool is doing, as status shows it."""

    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    STOPPED = "stopped"


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
        self.workers: dict[int, WorkerHandle] = {}
        self.state = PoolState.STARTING
        self.reason = ""
        self.settled = False
        self.zygote: ZygoteHandle | None = None
        self._setting = setting
        self._log = Log(options.name)
        self._memory = PoolMemory(options)
        self._processes = Processes(options, identity, listeners, self._memory, setting)
        self._adoption = Adoption(self._memory.channel_receive, self._memory.channel_send)
        self._limits = limits_of(options)
        self._policy = Memory()
        self._preload = preload_of(options)
        self._generation = 1
        self._watch = OneShotWatch()
        self._timer: asyncio.TimerHandle | None = None
        self._rearm: asyncio.TimerHandle | None = None
        self._give_back: asyncio.TimerHandle | None = None
        self._waited_idle = False
        self._last_failure = ""
        self._all_ended = asyncio.Event()

    # -- starting ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch the listeners and boot the zygote."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._watch.fileno(), self._on_listener)
        loop.add_reader(self._adoption.fileno(), self._on_adopted_readable)
        self._start_zygote()

    def _start_zygote(self) -> None:
        if self.zygote is not None or self.state in (PoolState.STOPPING, PoolState.STOPPED):
            return
        try:
            zygote = self._processes.start_zygote(
                self._generation,
                preload=self._preload,
                on_message=self._zygote_listener,
                emit=self._emit,
            )
        except OSError as error:
            self._boot_failed(f"start zygote: {error.strerror}", time.monotonic())
            return
        self.zygote = zygote
        self._setting.reaper.watch(zygote.pid, lambda death: self._zygote_ended(zygote, death))
        zygote.boot_timer = self._after(
            self.options.boot_timeout, lambda: self._zygote_too_slow(zygote)
        )
        self._log.debug("zygote_started", f"zygote {zygote.pid} started", pid=zygote.pid)

    def _zygote_listener(self, zygote: ZygoteHandle) -> OnMessage:
        def listen(message: Message | None) -> None:
            match message:
                case Ready():
                    self._zygote_ready(zygote, message)
                case UnsafePreload(reason):
                    zygote.failed = True
                    self._preload = False
                    self.reason = f"workers import the application themselves: {reason}"
                    self._log.notice("preload_off", f"preload = auto goes without: {reason}")
                case BootFailed(text):
                    zygote.failed = True
                    self._boot_failed(text, zygote.started_s)
                case Spawned(serial, pid):
                    self._worker_claimed(serial, pid)
                case SpawnFailed(serial, error):
                    self._worker_failed_to_fork(serial, error)
                case _:
                    self._processes.end(zygote, signal.SIGKILL)

        return listen

    def _zygote_ready(self, zygote: ZygoteHandle, message: Ready) -> None:
        zygote.ready = True
        zygote.booted()
        if message.preloaded:
            self._memory.notice.publish(boot_ns=_boot_ns(message.boot_s))
            self._log.debug("zygote_ready", f"application imported in {message.boot_s:.3f} s")
            self._policy = note_ready(self._policy)
        if self.options.pm is ProcessManager.ONDEMAND:
            self._serves()
        self.look()

    def _zygote_too_slow(self, zygote: ZygoteHandle) -> None:
        zygote.failed = True
        limit = self.options.boot_timeout
        self._processes.end(zygote, signal.SIGKILL)
        self._boot_failed(
            f"{self.options.app.origin}: app = {self.options.app}: "
            f"the import did not end within boot_timeout ({limit:g} s)",
            zygote.started_s,
        )

    def _zygote_ended(self, zygote: ZygoteHandle, death: Death) -> None:
        if zygote.link is not None:
            zygote.link.drain()
        zygote.close()
        if self.zygote is zygote:
            self.zygote = None
        for worker in list(self.workers.values()):
            if worker.pid is None:
                # Nobody will report its pid any more. Hanging up ends it where it exists.
                self._forget(worker)
        if self.state in (PoolState.STOPPING, PoolState.STOPPED):
            self._check_ended()
        elif self._policy.degraded:
            self._schedule(self._policy.retry_s)
        elif zygote.failed or zygote.ready:
            if not zygote.failed and self._give_back is None:
                self._log.warning("zygote_ended", f"zygote {zygote.pid} exited {death.text}")
            if self._wants_zygote():
                self._start_zygote()
        else:
            self._boot_failed(f"the zygote exited {death.text} while booting", zygote.started_s)
            self._schedule(self._policy.retry_s)

    def _wants_zygote(self) -> bool:
        """An ondemand pool may go without one until a connection waits."""
        return self.options.pm is not ProcessManager.ONDEMAND or not self._policy_is_idle()

    def _policy_is_idle(self) -> bool:
        return not self.workers and self._give_back is not None

    # -- boot failures ----------------------------------------------------------------------

    def _boot_failed(self, text: str, started_s: float) -> None:
        self._policy = note_boot_failed(self._policy, time.monotonic(), started_s=started_s)
        wait_s = max(0.0, self._policy.retry_s - time.monotonic())
        if text == self._last_failure:
            first = text.splitlines()[0]
            self._log.alert(
                "boot_failed",
                f"boot failed again ({self._policy.boot_failures} times), "
                f"next try in {wait_s:.1f} s: {first}",
            )
        else:
            self._last_failure = text
            self._log.alert("boot_failed", f"boot failed, next try in {wait_s:.1f} s: {text}")
        self.state = PoolState.DEGRADED
        self.reason = text.strip().splitlines()[0]
        self._publish()
        self._settle()
        self._schedule(self._policy.retry_s)

    def _serves(self) -> None:
        """A worker, or the zygote of an ondemand pool, has booted."""
        if self.state in (PoolState.STARTING, PoolState.DEGRADED):
            if self.state is PoolState.DEGRADED:
                self.reason = ""
                self._log.notice("recovered", "serves again")
            self.state = PoolState.RUNNING
        self._last_failure = ""
        self._settle()

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            self._setting.settled()

    # -- workers ----------------------------------------------------------------------------

    def _spawn(self, count: int) -> None:
        if self._give_back is not None:
            self._give_back.cancel()
            self._give_back = None
        zygote = self.zygote
        if zygote is None or not zygote.ready:
            self._start_zygote()
            return
        for _ in range(count):
            worker = self._processes.request_worker(
                zygote, on_message=self._worker_listener, emit=self._emit_of
            )
            if worker is None:
                self._log.warning("spawn_failed", "no worker could be asked for, trying again")
                return
            self.workers[worker.serial] = worker
            self._time_boot(worker)

    def _time_boot(self, worker: WorkerHandle) -> None:
        worker.boot_timer = self._after(
            self.options.boot_timeout, lambda: self._worker_too_slow(worker)
        )

    def _worker_listener(self, worker: WorkerHandle) -> OnMessage:
        def listen(message: Message | None) -> None:
            match message:
                case Ready(boot_s, preloaded, _):
                    self._worker_ready(worker, boot_s, preloaded=preloaded)
                case BootFailed(text):
                    worker.leaves_for = "boot"
                    self._boot_failed(text, worker.spawned_s)
                case Draining(reason):
                    worker.state = WorkerState.DRAINING
                    worker.leaves_for = worker.leaves_for or reason[:40]
                    self.look()
                case Saturated():
                    self.look()
                case LogLine(level, text):
                    self._log_for(worker, level, text)
                case None:
                    pass  # its death follows
                case _:
                    self._processes.end(worker, signal.SIGKILL)

        return listen

    def _worker_claimed(self, serial: int, pid: int) -> None:
        worker = self.workers.get(serial)
        if worker is None or worker.pid is not None:
            return
        early = self._setting.reaper.early_death(pid)
        if early is not None:
            worker.pid = pid
            self._worker_ended(worker, early)
        elif self._processes.accept_claim(worker, pid):
            self._setting.reaper.watch(pid, lambda death: self._worker_ended(worker, death))
            self._log.debug("worker_started", f"child {pid} started", pid=pid)
        else:
            self._log.error("false_claim", f"the zygote claims pid {pid}, which is not a new child")
            self._forget(worker)

    def _worker_failed_to_fork(self, serial: int, error: str) -> None:
        worker = self.workers.get(serial)
        if worker is not None:
            self._forget(worker)
            self._boot_failed(f"fork a worker: {error}", worker.spawned_s)

    def _worker_ready(self, worker: WorkerHandle, boot_s: float, *, preloaded: bool) -> None:
        worker.booted()
        worker.was_ready = True
        if worker.state is WorkerState.BOOTING:
            worker.state = WorkerState.SERVING
        self._policy = note_ready(self._policy)
        if not preloaded:
            self._memory.notice.publish(boot_ns=_boot_ns(boot_s))
        self._serves()
        self.look()

    def _worker_too_slow(self, worker: WorkerHandle) -> None:
        limit = self.options.boot_timeout
        worker.leaves_for = "boot"
        self._processes.end(worker, signal.SIGKILL)
        self._boot_failed(
            f"a worker did not boot within boot_timeout ({limit:g} s)", worker.spawned_s
        )

    def _worker_ended(self, worker: WorkerHandle, death: Death) -> None:
        if worker.link is not None:
            worker.link.drain()
        lived_s = time.monotonic() - worker.spawned_s
        expected = bool(worker.leaves_for) or self.state is PoolState.STOPPING
        clean = death.code == 0
        level = Level.DEBUG if expected and clean else Level.NOTICE if clean else Level.WARNING
        self._log.write(
            level,
            "worker_ended",
            f"child {worker.pid} exited {death.text} after {lived_s:.6f} seconds from start",
            pid=worker.pid,
            code=death.code,
            signal=death.signum,
            reason=worker.leaves_for,
        )
        self._count_ending(worker, death)
        self._forget(worker)
        if self.state is PoolState.STOPPING:
            return
        if not worker.was_ready and not worker.leaves_for:
            self._boot_failed(f"a worker exited {death.text} while booting", worker.spawned_s)
        elif not clean:
            self._poke_somebody()  # it may have died of a wake-up that it did not use
        if not self.workers:
            self._last_worker_left()
        self.look()

    def _forget(self, worker: WorkerHandle) -> None:
        """Release all that the master holds for a worker."""
        if self.workers.pop(worker.serial, None) is None:
            return
        worker.close()
        self._memory.release_slot(worker.slot)
        self._check_ended()

    def _count_ending(self, worker: WorkerHandle, death: Death) -> None:
        notice = self._memory.notice
        total = notice.current
        match worker.leaves_for:
            case "idle":
                notice.publish(recycles_idle=total.recycles_idle + 1)
            case "":
                if death.signum == signal.SIGKILL:
                    notice.publish(respawns_killed=total.respawns_killed + 1)
                elif death.signum is not None:
                    notice.publish(respawns_crash=total.respawns_crash + 1)
                else:
                    notice.publish(respawns_exit=total.respawns_exit + 1)
            case _:
                pass

    def _last_worker_left(self) -> None:
        if self.options.pm is ProcessManager.ONDEMAND and self.options.preload_idle_timeout:
            self._give_back = self._after(self.options.preload_idle_timeout, self._give_zygote_back)

    def _give_zygote_back(self) -> None:
        if not self.workers and self.zygote is not None and self.zygote.link is not None:
            self._log.debug("zygote_returned", "no workers for a while: the zygote is given back")
            self.zygote.link.close()  # it ends with its master's end of the socket

    # -- looking and acting -----------------------------------------------------------------

    def look(self) -> None:
        """Show the policy this pool and do what it says."""
        if self.state in (PoolState.STOPPING, PoolState.STOPPED):
            return
        now_s = time.monotonic()
        waiting = self._is_waiting()
        view = view_of(
            self.workers.values(), self._memory.board, waiting=waiting, room=self._setting.room()
        )
        decision = decide(view, self._limits, self._policy, now_s)
        self._policy = decision.memory
        for action in decision.actions:
            self._apply(action)
        if decision.next_look_s is not None:
            self._schedule(decision.next_look_s)
        self._watch_listeners(may_grow=decision.may_grow)
        self._mind_lost_wakeups(waiting=waiting, idle=bool(view.idle))
        self._mind_connections()
        self._publish()

    def _apply(self, action: Action) -> None:
        match action:
            case Spawn(count):
                self._spawn(count)
            case Retire(key):
                self._retire(key)
            case ReportMaxChildren(limit):
                notice = self._memory.notice
                notice.publish(max_children_reached=notice.current.max_children_reached + 1)
                self._log.warning(
                    "max_children",
                    f"reached pm.max_children ({limit}); {self._waiting_text()}: "
                    "raise it or shorten requests",
                )
            case ReportProcessMax(wanted):
                self._log.warning(
                    "process_max",
                    f"process.max ({self._setting.main.process_max}) leaves no room "
                    f"for {wanted} more workers",
                )
            case ReportBusy(spawning, idle, total):
                self._log.warning(
                    "busy",
                    f"seems busy: spawning {spawning}, {idle} idle of {total} workers "
                    "(you may raise pm.start_servers or pm.min_spare_servers)",
                )

    def _retire(self, slot: int) -> None:
        for worker in self.workers.values():
            if worker.slot == slot and worker.state is WorkerState.SERVING:
                self._processes.drain(worker, "idle", hand_over=True)

    def _waiting_text(self) -> str:
        queue = sum(self._queue_of(listener)[0] for listener in self.listeners)
        return f"{queue + self._memory.handed_over} connections wait"

    def _is_waiting(self) -> bool:
        board = self._memory.board
        return (
            any(is_readable(listener.sock.fileno()) for listener in self.listeners)
            or self._memory.handed_over > 0
            or self._adoption.has_readable
            or any(board.pending(worker.slot) for worker in self.workers.values())
        )

    def _watch_listeners(self, *, may_grow: bool) -> None:
        """Hear of the next connection, at most every 20 ms and only while it could matter."""
        if not may_grow:
            for listener in self.listeners:
                self._watch.disarm(listener.sock.fileno())
        elif self._rearm is None:
            self._rearm = self._after(_REARM_S if self.workers else 0, self._arm_watch)

    def _arm_watch(self) -> None:
        self._rearm = None
        if self.state in (PoolState.STOPPING, PoolState.STOPPED):
            return
        for listener in self.listeners:
            self._watch.arm(listener.sock.fileno())

    def _on_listener(self) -> None:
        self._watch.drain()
        self.look()

    def _mind_lost_wakeups(self, *, waiting: bool, idle: bool) -> None:
        """Connections wait while somebody is idle, twice in a row: a wake-up was lost."""
        if not (waiting and idle):
            self._waited_idle = False
        elif not self._waited_idle:
            self._waited_idle = True
            self._after(_REARM_S, self.look)
        else:
            self._waited_idle = False
            self._poke_somebody()

    def _poke_somebody(self) -> None:
        serving = [
            worker for worker in self.workers.values() if worker.state is WorkerState.SERVING
        ]
        for worker in serving:
            if self._memory.board.is_idle(worker.slot):
                self._processes.poke(worker)
                return
        for worker in serving:
            self._processes.poke(worker)

    # -- connections without a worker -------------------------------------------------------

    def _mind_connections(self) -> None:
        """With a worker, give it what is readable; without one, keep what the last one left."""
        receive = self._memory.channel_receive.fileno()
        loop = asyncio.get_running_loop()
        if any(worker.state is WorkerState.SERVING for worker in self.workers.values()):
            loop.remove_reader(receive)
            self._adoption.return_readable()
        elif any(worker.state is WorkerState.BOOTING for worker in self.workers.values()):
            loop.remove_reader(receive)  # the booting one will take what is in the channel
        else:
            loop.add_reader(receive, self._adopt)

    def _adopt(self) -> None:
        self._adoption.adopt_waiting(time.monotonic(), self.options.keepalive_timeout)

    def _on_adopted_readable(self) -> None:
        self._adoption.notice_readable()
        self.look()

    # -- watching ---------------------------------------------------------------------------

    def observe(self) -> None:
        """Once a second: what is sampled, and what would otherwise be noticed by nobody."""
        if self.state in (PoolState.STOPPING, PoolState.STOPPED):
            return
        self._adoption.expire(time.monotonic())
        if self._is_waiting():
            self.look()
        self._publish()

    def _publish(self) -> None:
        board = self._memory.board
        notice = self._memory.notice
        queues = [self._queue_of(listener) for listener in self.listeners]
        waiting = sum(queue[0] for queue in queues)
        active = sum(board.stage(worker.slot).is_active for worker in self.workers.values())
        notice.publish(
            state=self.state.value,
            reason=self.reason,
            generation=self._generation,
            adopted=len(self._adoption),
            listen_queue=waiting,
            max_listen_queue=max(notice.current.max_listen_queue, waiting),
            listen_queue_length=sum(queue[1] for queue in queues),
            max_active=max(notice.current.max_active, active),
        )

    def _queue_of(self, listener: Listener) -> tuple[int, int]:
        """Connections that wait at a listener, and the most that may."""
        try:
            queue = read_listen_queue(listener.sock)
        except OSError:
            return 0, 0
        return queue.waiting, queue.limit

    def status(self) -> PoolStatus:
        """The pool as a status page shows it."""
        self._publish()
        notice = self._memory.notice.current
        return summarise(notice, self._memory.copies(), time.monotonic(), time.time())

    # -- output -----------------------------------------------------------------------------

    def _emit_of(self, worker: WorkerHandle) -> Emit:
        def emit(stream: str, line: str) -> None:
            if self.options.decorate_workers_output:
                self._log.write(
                    Level.WARNING,
                    "output",
                    f'child {worker.pid} said into {stream}: "{line}"',
                    pid=worker.pid,
                    stream=stream,
                )
            else:
                self._output(stream, line, worker.pid)

        return emit

    def _emit(self, stream: str, line: str) -> None:
        self._output(stream, line, self.zygote.pid if self.zygote else None)

    def _output(self, stream: str, line: str, pid: int | None) -> None:
        self._log.write(Level.ALERT, "output", line, pid=pid, stream=stream)

    def _log_for(self, worker: WorkerHandle, level: str, text: str) -> None:
        try:
            severity = Level.named(level)
        except ValueError:
            severity = Level.WARNING
        self._log.write(severity, "worker", f"child {worker.pid}: {text}", pid=worker.pid)

    # -- stopping ---------------------------------------------------------------------------

    async def stop(self, *, timeout_s: float) -> None:
        """Drain; after `timeout_s` TERM, and KILL a second later. Listeners are closed.

        The socket file goes first: a web server then fails over at once, while connections that
        wait in the backlog are still served.
        """
        self.state = PoolState.STOPPING
        self._publish()
        self._cancel_timers()
        for listener in self.listeners:
            listener.remove_file()
        if self.zygote is not None and self.zygote.link is not None:
            self.zygote.link.close()
            if not self.zygote.ready:
                self._processes.end(self.zygote, signal.SIGKILL)
        for worker in self.workers.values():
            if not self._processes.drain(worker, "stop", hand_over=False):
                self._processes.end(worker, signal.SIGTERM)
        self._check_ended()
        await self._wait_ended(timeout_s)
        for signum in (signal.SIGTERM, signal.SIGKILL):
            self.signal_all(signum)
            await self._wait_ended(_KILL_AFTER_TERM_S)
        self._close()

    def signal_all(self, signum: signal.Signals) -> None:
        """Signal every process of the pool that is left."""
        for worker in self.workers.values():
            self._processes.end(worker, signum)
        if self.zygote is not None:
            self._processes.end(self.zygote, signum)

    async def _wait_ended(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_ended.wait()
        except TimeoutError:
            pass

    def _check_ended(self) -> None:
        if self.state is PoolState.STOPPING and not self.workers and self.zygote is None:
            self._all_ended.set()

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._rearm, self._give_back):
            if timer is not None:
                timer.cancel()

    def _close(self) -> None:
        self.state = PoolState.STOPPED
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._watch.fileno())
        loop.remove_reader(self._adoption.fileno())
        loop.remove_reader(self._memory.channel_receive.fileno())
        self._watch.close()
        self._adoption.close()
        self._memory.close()
        for listener in self.listeners:
            listener.close()

    # -- time -------------------------------------------------------------------------------

    def _schedule(self, at_s: float) -> None:
        """Look again at `at_s` (monotonic), or earlier if that was planned already."""
        if self._timer is not None and not self._timer.cancelled():
            if self._timer.when() - asyncio.get_running_loop().time() <= at_s - time.monotonic():
                return
            self._timer.cancel()
        self._timer = self._after(max(0.0, at_s - time.monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.zygote is None and time.monotonic() >= self._policy.retry_s:
            self._start_zygote()
        self.look()

    def _after(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, call)


def _boot_ns(boot_s: float) -> int:
    return int(max(0.0, min(boot_s, 1e9)) * 1e9)
