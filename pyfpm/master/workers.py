"""The workers of a pool, from the request to spawn one to the reaped death."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pyfpm.config import PoolOptions
from pyfpm.logs import Level, Log
from pyfpm.master.handles import OnMessage, WorkerHandle, WorkerState, ZygoteHandle
from pyfpm.master.health import Health
from pyfpm.master.output import Emit
from pyfpm.master.processes import Processes
from pyfpm.master.reaper import Death, Reaper
from pyfpm.master.shared import PoolMemory
from pyfpm.messages import BootFailed, Draining, LogLine, Message, Ready, Saturated
from pyfpm.scoreboard import Stage

BOOT = "boot"
IDLE = "idle"
STOP = "stop"


@dataclass(slots=True)
class WorkerKeeper:
    """Spawns workers, follows what they say, and counts how they end.

    `by_serial` are all that the master knows of, from the request on. `look` is called when
    something changed that the policy should see, `output` makes the receiver of what one prints.
    """

    options: PoolOptions
    processes: Processes
    memory: PoolMemory
    reaper: Reaper
    health: Health
    log: Log
    output: Callable[[WorkerHandle], Emit]
    look: Callable[[], None]
    boot_s: float = 0.0
    by_serial: dict[int, WorkerHandle] = field(default_factory=dict)

    def spawn(self, count: int, zygote: ZygoteHandle) -> bool:
        """Ask for `count` workers; False if not all could be asked for now."""
        for _ in range(count):
            worker = self.processes.request_worker(
                zygote, on_message=self._listener, emit=self.output
            )
            if worker is None:
                self.log.warning("spawn_failed", "a worker could not be asked for")
                return False
            self.by_serial[worker.serial] = worker
            self._time_boot(worker)
        return True

    def retire(self, slot: int) -> None:
        """Ask the worker of this slot to hand off what it has and leave."""
        for worker in self.by_serial.values():
            if worker.slot == slot and worker.state in (WorkerState.SERVING, WorkerState.BOOTING):
                self.processes.drain(worker, IDLE, hand_off=True)

    def drain_all(self) -> None:
        """The service ends: every worker finishes what it has."""
        for worker in self.by_serial.values():
            if not self.processes.drain(worker, STOP, hand_off=False):
                self.processes.end(worker, signal.SIGTERM)

    def poke(self) -> None:
        """A wake-up was lost: let every worker that serves look.

        All of them, since it is rare and the one that looks idle may not be able to accept.
        """
        for worker in self.by_serial.values():
            if worker.state is WorkerState.SERVING:
                self.processes.poke(worker)

    def claim(self, serial: int, pid: int) -> None:
        """The zygote says that this worker has this pid."""
        worker = self.by_serial.get(serial)
        if worker is None or worker.pid is not None:
            return
        try:
            accepted = self.processes.accept_claim(worker, pid)
        except OSError as error:  # out of descriptors: a worker that cannot be held is let go
            self.log.alert("claim_failed", f"child {pid} is let go: {error.strerror}", pid=pid)
            self.forget(worker)
            return
        if accepted:
            self.reaper.forget_early_death(pid)  # of another process that once had this pid
            self.reaper.watch(pid, lambda death: self._ended(worker, death))
            self.log.debug("worker_started", f"child {pid} started", pid=pid)
            if worker.state is WorkerState.ENDING:  # it broke the rules before it had a pid
                self.processes.end(worker, signal.SIGKILL)
            return
        early = self.reaper.early_death(pid)
        if early is not None:
            worker.pid = pid
            self._ended(worker, early)
            return
        text = f"the zygote claims pid {pid}, which is no new child"
        self.log.error("false_claim", text)
        self.forget(worker)
        self.health.boot_failed(text, worker.spawned_s)
        self.look()

    def failed_to_fork(self, serial: int, error: str) -> None:
        """The zygote could not make the worker."""
        worker = self.by_serial.get(serial)
        if worker is not None:
            self.forget(worker)
            self.health.boot_failed(f"fork a worker: {error}", worker.spawned_s)
            self.look()

    def forget_unclaimed(self) -> int:
        """The zygote is gone and will report nothing more; hanging up ends what it forked.

        How many were forgotten.
        """
        unclaimed = [worker for worker in self.by_serial.values() if worker.pid is None]
        for worker in unclaimed:
            self.forget(worker)
        return len(unclaimed)

    def forget(self, worker: WorkerHandle, *, broke_off: int = 0) -> None:
        """Release all that the master holds for a worker; see `PoolMemory.release_slot`."""
        if self.by_serial.pop(worker.serial, None) is not None:
            worker.close()
            self.memory.release_slot(worker.slot, broke_off=broke_off)

    def _time_boot(self, worker: WorkerHandle) -> None:
        loop = asyncio.get_running_loop()
        worker.boot_timer = loop.call_later(
            self.options.boot_timeout, lambda: self._too_slow(worker)
        )

    def _listener(self, worker: WorkerHandle) -> OnMessage:
        def listen(message: Message | None) -> None:
            match message:
                case Ready(boot_s, preloaded, _):
                    self._is_ready(worker, boot_s, preloaded=preloaded)
                case BootFailed(text):
                    worker.leaves_for = BOOT
                    self.health.boot_failed(text, worker.spawned_s)
                case Draining(reason):
                    worker.state = WorkerState.DRAINING
                    worker.leaves_for = worker.leaves_for or reason[:40]
                    self.look()
                case Saturated():
                    self.look()
                case LogLine(level, text):
                    self._say(worker, level, text)
                case _:
                    # It hung up or broke the rules. One that has ended takes no harm, and one that
                    # lives on would never hear an order again.
                    self.processes.end(worker, signal.SIGKILL)

        return listen

    def _is_ready(self, worker: WorkerHandle, boot_s: float, *, preloaded: bool) -> None:
        worker.booted()
        worker.was_ready = True
        if worker.state is WorkerState.BOOTING:
            worker.state = WorkerState.SERVING
        if not preloaded:
            self.boot_s = boot_s
        self.health.booted()
        self.health.serves()
        self.look()

    def _too_slow(self, worker: WorkerHandle) -> None:
        worker.leaves_for = BOOT
        self.processes.end(worker, signal.SIGKILL)
        if worker.pid is None and worker.zygote is not None:
            # No report in all that time: the zygote hangs in a fork and would do so for ever.
            self.processes.end(worker.zygote, signal.SIGKILL)
        limit_s = self.options.boot_timeout
        text = f"a worker did not boot within boot_timeout ({limit_s:g} s)"
        self.health.boot_failed(text, worker.spawned_s)

    def _ended(self, worker: WorkerHandle, death: Death) -> None:
        if worker.link is not None:
            worker.link.drain()
        request = self._broken_request(worker, death)
        self._log_ending(worker, death, request)
        self._count_ending(worker, death)
        self.forget(worker, broke_off=int(bool(request)))
        if not worker.was_ready and not worker.leaves_for:
            text = f"a worker exited {death.text} while booting"
            self.health.boot_failed(text, worker.spawned_s)
        elif death.code != 0:
            self.poke()  # it may have died of a wake-up that it did not use (DESIGN 3, rule c)
        self.look()

    def _broken_request(self, worker: WorkerHandle, death: Death) -> str:
        """The request that ended with a worker which crashed, as its slot says; empty for none."""
        slot = self.memory.board.read(worker.slot)
        if death.code == 0 or not worker.was_ready or slot.stage is not Stage.RUNNING:
            return ""
        return f"{slot.method} {slot.uri}"

    def _log_ending(self, worker: WorkerHandle, death: Death, request: str) -> None:
        clean = death.code == 0
        expected = worker.leaves_for in (IDLE, STOP) or self.health.is_ending
        level = Level.DEBUG if expected and clean else Level.NOTICE if clean else Level.WARNING
        lived_s = time.monotonic() - worker.spawned_s
        self.log.write(
            level,
            "worker_ended",
            f"child {worker.pid} exited {death.text} after {lived_s:.6f} seconds from start"
            + (f", while it served {request!a}" if request else ""),
            pid=worker.pid,
            request=request or None,
            code=death.code,
            signal=death.signum,
            reason=worker.leaves_for,
        )

    def _count_ending(self, worker: WorkerHandle, death: Death) -> None:
        notice = self.memory.notice
        total = notice.current
        if worker.leaves_for == IDLE:
            notice.publish(recycles_idle=total.recycles_idle + 1)
        elif worker.leaves_for:
            return
        elif death.signum == signal.SIGKILL:
            notice.publish(respawns_killed=total.respawns_killed + 1)
        elif death.signum is not None:
            notice.publish(respawns_crash=total.respawns_crash + 1)
        else:
            notice.publish(respawns_exit=total.respawns_exit + 1)

    def _say(self, worker: WorkerHandle, level: str, text: str) -> None:
        try:
            severity = Level.named(level)
        except ValueError:
            severity = Level.WARNING
        self.log.write(severity, "worker", f"child {worker.pid}: {text}", pid=worker.pid)
