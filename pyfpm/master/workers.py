"""The workers of a pool, from the request to spawn one to the reaped death."""

import asyncio
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pyfpm.logs import Log
from pyfpm.master.ear import Ear
from pyfpm.master.endings import (
    BOOT,
    CRASH_SIGNALS,
    IDLE,
    MAX_LIFETIME,
    RELOAD,
    STOP,
    broken_request,
    count_ending,
    log_ending,
)
from pyfpm.master.flow import BYTES_PER_S, Flow
from pyfpm.master.generation import Generation
from pyfpm.master.handles import WorkerHandle, WorkerState, ZygoteHandle
from pyfpm.master.link import POOL_MESSAGES_PER_S, OnMessage
from pyfpm.master.output import Emit
from pyfpm.master.processes import Processes
from pyfpm.master.reaper import Death, Reaper
from pyfpm.master.refusals import RefusalLog
from pyfpm.master.setting import Setting
from pyfpm.master.shared import PoolMemory
from pyfpm.master.state import SavedWorker
from pyfpm.master.turns import Share
from pyfpm.messages import Parked
from pyfpm.scoreboard.slot import Word

KILL_AFTER_TERM_S = 1.0
_YOUNG_S = 5.0


@dataclass(slots=True)
class WorkerKeeper:
    """Spawns workers, follows what they say, and counts how they end.

    `by_serial` are all that the master knows of, of every generation, from the request on. `look`
    is called when something changed that the policy should see, `output` makes the receiver of
    what one prints, `crashed` hears of each death by one of CRASH_SIGNALS.
    """

    memory: PoolMemory
    setting: Setting
    log: Log
    output: Callable[[WorkerHandle], Emit]
    look: Callable[[], None]
    crashed: Callable[[WorkerHandle], None]
    boot_s: float = 0.0
    by_serial: dict[int, WorkerHandle] = field(default_factory=dict)
    last_serial: int = 0
    reaper: Reaper = field(init=False)
    messages: Share = field(init=False)
    flow: Flow = field(init=False)
    refusals: RefusalLog = field(init=False)
    _ear: Ear = field(init=False)

    def __post_init__(self) -> None:
        self.reaper = self.setting.reaper
        self.messages = self.setting.messages.join(POOL_MESSAGES_PER_S)
        self.flow = Flow(self.log, self.setting.output.join(BYTES_PER_S))
        self.refusals = RefusalLog(self.log, self.memory.count_refusals)
        self._ear = Ear(self)

    def tell(self) -> None:
        """Have the log say what it was spared; called once a second."""
        self._ear.tell()
        self.flow.tell()
        self.refusals.tell()

    def close(self) -> None:
        """The pool has ended: have the log say the rest, and release what workers shared."""
        self._ear.cancel_look()
        self.tell_the_rest()
        self.memory.close()

    def tell_the_rest(self) -> None:
        """Have the log say at once what waits to be said: soon nobody is there to say it."""
        self.flow.finish()
        self.refusals.tell(at_once=True)

    # -- beginning --------------------------------------------------------------------------

    def spawn(self, count: int, generation: Generation) -> bool:
        """Ask for `count` workers; False if not all could be asked for now."""
        return all(self.spawn_one(generation) is not None for _ in range(count))

    def spawn_one(self, generation: Generation) -> WorkerHandle | None:
        """Ask for a worker; None if there is no slot or the zygote does not listen."""
        zygote = generation.zygotes.ready
        slot = self.memory.take_slot() if zygote is not None else None
        if zygote is None or slot is None:
            self.log.warning("spawn_failed", "a worker could not be asked for")
            return None
        self.last_serial += 1
        luck = random.random()  # noqa: S311 - when to replace it is no secret
        worker = WorkerHandle(self.last_serial, slot, time.monotonic(), generation, luck)
        listen, emit = self.listener(worker), self.output(worker)
        if problem := generation.processes.request_worker(worker, zygote, listen, emit):
            self.log.warning("spawn_failed", f"a worker could not be asked for: {problem}")
            worker.close()
            self.memory.release_slot(slot)
            return None
        self.by_serial[worker.serial] = worker
        self.time_boot(worker)
        return worker

    def replace(self, slot: int, generation: Generation) -> bool:
        """Ask for a worker that takes the place of the one in `slot`; False if not now.

        The old one serves until the new one is ready.
        """
        old = next((worker for worker in self.by_serial.values() if worker.slot == slot), None)
        if old is None or old.replacement is not None:
            return True
        worker = self.spawn_one(generation)
        if worker is None:
            return False
        self.pair(old, worker)
        return True

    @staticmethod
    def pair(old: WorkerHandle, new: WorkerHandle) -> None:
        """From now on `new` is to take the place of `old`."""
        old.replacement, new.replaces = new, old

    # -- leaving ----------------------------------------------------------------------------

    def retire(self, slot: int) -> None:
        """Ask the worker of this slot to hand off what it has and leave."""
        for worker in self.by_serial.values():
            if worker.slot == slot and worker.serves:
                self.drain(worker, worker.due or IDLE)

    def drain(self, worker: WorkerHandle, reason: str) -> None:
        """Tell a worker to finish what it has and leave, within pm.drain_timeout."""
        if worker.replaces is not None:  # not needed any more, so the other one stays
            worker.replaces.replacement = None
            worker.replaces = None
        parked = Parked.HAND_OFF if worker.generation.hands_over else Parked.KEEP
        if Processes.drain(worker, reason, parked):
            self.bound_drain(worker)

    @staticmethod
    def end(worker: WorkerHandle) -> None:
        """Kill a worker that serves nobody."""
        worker.leaves_for = worker.leaves_for or BOOT
        Processes.end(worker, signal.SIGKILL)

    def drain_all(self) -> None:
        """The pool ends: every worker finishes what it has."""
        for worker in self.by_serial.values():
            if not Processes.drain(worker, STOP, Parked.CLOSE):
                Processes.end(worker, signal.SIGTERM)

    def give_way(self, new: WorkerHandle) -> None:
        """`new` is ready: the worker whose place it takes drains, if it still serves."""
        old = new.replaces
        if old is None:
            return
        new.replaces = old.replacement = None
        if old.serves:
            self.drain(old, old.due or RELOAD)

    def notice_ages(self) -> bool:
        """Find the workers that have reached pm.max_lifetime; whether there are new ones."""
        now_s = time.monotonic()
        found = False
        for worker in self.by_serial.values():
            options = worker.options
            most_s = options.pm_max_lifetime * (1 - options.pm_max_requests_jitter * worker.luck)
            if most_s and not worker.due and now_s - worker.spawned_s >= most_s:
                worker.due = MAX_LIFETIME
                found = True
        return found

    def has_proven(self) -> bool:
        """Whether some worker shows by requests or by age that the application works."""
        now_s, board = time.monotonic(), self.memory.board
        return any(
            board.word(worker.slot, Word.REQUESTS) or now_s - worker.spawned_s >= _YOUNG_S
            for worker in self.by_serial.values()
            if worker.state is WorkerState.SERVING
        )

    def bound_drain(self, worker: WorkerHandle) -> None:
        """Have pm.drain_timeout end what drains too long."""
        most_s = worker.options.pm_drain_timeout
        if most_s and worker.drain_timer is None:
            loop = asyncio.get_running_loop()
            worker.drain_timer = loop.call_later(most_s, lambda: self._drained_too_long(worker))

    def _drained_too_long(self, worker: WorkerHandle) -> None:
        limit_s = worker.options.pm_drain_timeout
        text = f"child {worker.pid} still drains after pm.drain_timeout ({limit_s:g} s): ending it"
        self.log.warning("drain_timeout", text, pid=worker.pid)
        Processes.end(worker, signal.SIGTERM)
        loop = asyncio.get_running_loop()
        worker.drain_timer = loop.call_later(KILL_AFTER_TERM_S, lambda: self._kill(worker))

    @staticmethod
    def _kill(worker: WorkerHandle) -> None:
        Processes.end(worker, signal.SIGKILL)

    # -- what the zygote and the workers say ------------------------------------------------

    def poke(self) -> None:
        """A wake-up was lost: let every worker that serves look.

        All of them, since it is rare and the one that looks idle may not be able to accept.
        """
        for worker in self.by_serial.values():
            if worker.state is WorkerState.SERVING:
                Processes.poke(worker)

    def claim(self, zygote: ZygoteHandle, serial: int, pid: int) -> None:
        """The zygote says that this worker has this pid."""
        worker = self.by_serial.get(serial)
        if worker is None or worker.pid is not None or worker.zygote is not zygote:
            return
        try:
            accepted = worker.generation.processes.accept_claim(worker, pid)
        except OSError as error:  # out of descriptors: a worker that cannot be held is let go
            text = f"child {pid} is let go: {error.strerror}"
            self.log.alert("claim_failed", text, pid=pid)
            self.forget(worker)
            worker.generation.boots.boot_failed(text, worker.spawned_s)
            return
        if accepted:
            self.reaper.forget_early_death(pid)  # of another process that once had this pid
            self.reaper.watch(pid, lambda death: self._ended(worker, death))
            self.log.debug("worker_started", f"child {pid} started", pid=pid)
            if worker.state is WorkerState.ENDING:  # it broke the rules before it had a pid
                Processes.end(worker, signal.SIGKILL)
            return
        early = self.reaper.early_death(pid, worker.generation.identity.uid)
        if early is not None:
            worker.pid = pid
            self._ended(worker, early)
            return
        text = f"the zygote claims pid {pid}, which is no new child"
        self.log.error("false_claim", text)
        self.forget(worker)
        worker.generation.boots.boot_failed(text, worker.spawned_s)
        self.look()

    def failed_to_fork(self, zygote: ZygoteHandle, serial: int, error: str) -> bool:
        """The zygote could not make the worker; False if that is a lie: it has said the pid."""
        worker = self.by_serial.get(serial)
        if worker is not None and worker.zygote is zygote:
            if worker.pid is not None:
                return False
            self.forget(worker)
            worker.generation.boots.boot_failed(f"fork a worker: {error}", worker.spawned_s)
            self.look()
        return True

    def forget_unclaimed(self, zygote: ZygoteHandle) -> int:
        """The zygote is gone and will report nothing more; hanging up ends what it forked.

        How many were forgotten.
        """
        unclaimed = [w for w in self.by_serial.values() if w.pid is None and w.zygote is zygote]
        for worker in unclaimed:
            self.forget(worker)
        return len(unclaimed)

    def forget(self, worker: WorkerHandle, *, broke_off: int = 0) -> None:
        """End a worker and release all that is held for it; see `PoolMemory.release_slot`."""
        if self.by_serial.pop(worker.serial, None) is not None:
            Processes.end(worker, signal.SIGKILL)  # alive, it would be within nobody's limits
            if worker.replaces is not None:
                worker.replaces.replacement = None
            if worker.replacement is not None:
                worker.replacement.replaces = None
            worker.close()
            self.memory.release_slot(worker.slot, broke_off=broke_off)

    def time_boot(self, worker: WorkerHandle) -> None:
        """Start the clock of boot_timeout."""
        loop = asyncio.get_running_loop()
        worker.boot_timer = loop.call_later(
            worker.options.boot_timeout, lambda: self._too_slow(worker)
        )

    def resume(self, worker: WorkerHandle, saved: SavedWorker) -> None:
        """Hold a worker of the master before an exec."""
        listen, emit = self.listener(worker), self.output(worker)
        worker.resume_process(saved.process, listen, emit, self.flow, self.messages)
        self.by_serial[worker.serial] = worker
        loop = asyncio.get_running_loop()
        if worker.pid is not None:
            self.reaper.watch(worker.pid, lambda death: self._ended(worker, death))
        if saved.process.boot_ends_s is not None and worker.state is WorkerState.BOOTING:
            worker.boot_timer = loop.call_at(
                saved.process.boot_ends_s, lambda: self._too_slow(worker)
            )
        if saved.drain_ends_s is not None:
            worker.drain_timer = loop.call_at(
                saved.drain_ends_s,
                lambda: (
                    self._kill(worker)
                    if worker.state is WorkerState.ENDING
                    else self._drained_too_long(worker)
                ),
            )

    def listener(self, worker: WorkerHandle) -> OnMessage:
        """Who hears what this worker says."""
        return self._ear.listener(worker)

    def hung_up(self, worker: WorkerHandle) -> None:
        """It closed its end, or broke the rules: one that lives on would never hear an order again.

        Most have ended, and the others get a moment to say why they end.
        """
        if worker.link is not None and worker.link.fault:
            text = f"child {worker.pid} broke the rules of its control socket, and is ended:"
            self.log.error("broken_rules", f"{text} {worker.link.fault}", pid=worker.pid)
        worker.state = WorkerState.ENDING
        if worker.drain_timer is not None:
            worker.drain_timer.cancel()
        worker.drain_timer = asyncio.get_running_loop().call_later(
            KILL_AFTER_TERM_S, lambda: self._end_for_good(worker)
        )

    def _end_for_good(self, worker: WorkerHandle) -> None:
        """Kill what hung up. Without a pid there is nobody to kill, and no death will be told."""
        Processes.end(worker, signal.SIGKILL)
        if worker.pid is None:
            self.forget(worker)
            text = "a worker hung up of which the zygote has not said the pid"
            worker.generation.boots.boot_failed(text, worker.spawned_s)
            self.look()

    def is_ready(self, worker: WorkerHandle, boot_s: float, *, preloaded: bool) -> None:
        """It serves."""
        worker.booted()
        worker.was_ready = True
        if worker.state is WorkerState.BOOTING:
            worker.state = WorkerState.SERVING
        if not preloaded:
            self.boot_s = boot_s
        worker.generation.boots.booted()
        worker.generation.boots.serves()
        self.give_way(worker)
        self.look()

    def _too_slow(self, worker: WorkerHandle) -> None:
        worker.leaves_for = BOOT
        Processes.end(worker, signal.SIGKILL)
        if worker.pid is None and worker.zygote is not None:
            # No report in all that time: the zygote hangs in a fork and would do so for ever.
            Processes.end(worker.zygote, signal.SIGKILL)
        limit_s = worker.options.boot_timeout
        text = f"a worker did not boot within boot_timeout ({limit_s:g} s)"
        worker.generation.boots.boot_failed(text, worker.spawned_s)

    def _ended(self, worker: WorkerHandle, death: Death) -> None:
        if worker.link is not None:
            worker.link.drain()
        request = broken_request(worker, death, self.memory)
        log_ending(self.log, worker, death, request)
        count_ending(self.memory, worker, death)
        failure = "" if request else self._failure_of(worker, death)
        self.forget(worker, broke_off=int(bool(request)))
        if death.signum in CRASH_SIGNALS and worker.was_ready and not worker.leaves_for:
            self.crashed(worker)
        if failure:
            boots = worker.generation.boots
            boots.boot_failed(failure, worker.spawned_s, was_ready=worker.was_ready)
        elif death.code != 0:
            self.poke()  # it may have died of a wake-up that it did not use (DESIGN 3, rule c)
        self.look()

    def _failure_of(self, worker: WorkerHandle, death: Death) -> str:
        """Why this end says that the next worker will hardly fare better; empty if it does not.

        One that was ready and ended at once, without a request, is as good as one that did not
        boot: it would be replaced for ever, as fast as pm.max_spawn_rate allows. Not so one that
        somebody killed.
        """
        if worker.leaves_for:
            return ""
        if not worker.was_ready:
            return f"a worker exited {death.text} while booting"
        by_itself = death.signum != signal.SIGKILL
        unused = not self.memory.board.word(worker.slot, Word.REQUESTS)
        young = time.monotonic() - worker.spawned_s < _YOUNG_S
        if by_itself and unused and young:
            return f"a worker exited {death.text} before it had served a request"
        return ""
