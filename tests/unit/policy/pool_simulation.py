"""A pool made of numbers: workers, a queue and a clock that the test moves.

Driven through `decide` as the master drives it: at every change it would learn of, and at the
time of the next look. The rules that hold whatever happens are checked at every decision.
"""

from dataclasses import dataclass, field, replace

from pyfpm.policy import (
    Decision,
    Limits,
    Memory,
    PoolView,
    Retire,
    Spawn,
    WorkerView,
    decide,
    note_boot_failed,
    note_ready,
)
from pyfpm.scoreboard import Stage


@dataclass
class Pool:
    limits: Limits
    boot_s: float = 0.01
    process_max: int = 10_000
    boots_fail: bool = False
    now_s: float = 1000.0
    queue: int = 0
    memory: Memory = field(default_factory=Memory)
    workers: dict[int, WorkerView] = field(default_factory=dict)
    history: list[tuple[float, object]] = field(default_factory=list)
    decisions: int = 0
    next_look_s: float | None = 0.0
    serial: int = 0

    def view(self) -> PoolView:
        return PoolView(
            workers=tuple(self.workers.values()),
            waiting=self.queue > 0,
            room=self.process_max - len(self.workers),
        )

    def count(self, *stages: Stage) -> int:
        return sum(worker.stage in stages for worker in self.workers.values())

    @property
    def serving(self) -> int:
        return self.view().serving

    def look(self) -> Decision:
        """One decision, applied, with the rules that must hold at every one."""
        decision = decide(self.view(), self.limits, self.memory, self.now_s)
        self.memory = decision.memory
        self.next_look_s = decision.next_look_s
        self.decisions += 1
        for action in decision.actions:
            self.history.append((self.now_s, action))
            match action:
                case Spawn(count):
                    assert count > 0
                    for _ in range(count):
                        self.serial += 1
                        self.workers[self.serial] = WorkerView(
                            self.serial, Stage.BOOTING, self.now_s, self.now_s
                        )
                case Retire(key):
                    assert self.workers[key].stage is not Stage.DRAINING
                    gone = self.workers[key].stage in {Stage.IDLE, Stage.BOOTING}
                    if gone:
                        del self.workers[key]
                    else:
                        self.enter(key, Stage.DRAINING)
        assert self.serving <= self.limits.max_children
        assert len(self.workers) <= self.process_max
        assert decision.next_look_s is None or decision.next_look_s > self.now_s
        self.check_spawn_rate()
        return decision

    def check_spawn_rate(self) -> None:
        spawns = [(at, a.count) for at, a in self.history if isinstance(a, Spawn)]
        end_s = self.now_s
        assert sum(n for at, n in spawns if at + 1.0 > end_s) <= self.limits.max_spawn_rate

    def enter(self, key: int, stage: Stage) -> None:
        self.workers[key] = replace(self.workers[key], stage=stage, quiet_since_s=self.now_s)

    def dispatch(self) -> None:
        """Idle workers take what waits, as the kernel would have it."""
        for key in [w.key for w in self.workers.values() if w.stage is Stage.IDLE]:
            if self.queue:
                self.queue -= 1
                self.enter(key, Stage.RUNNING)

    def arrive(self, count: int) -> None:
        self.queue += count
        self.dispatch()

    def finish(self, count: int) -> None:
        """The first `count` requests under way end."""
        busy = [w for w in self.workers.values() if w.stage in {Stage.RUNNING, Stage.DRAINING}]
        for worker in busy[:count]:
            if worker.stage is Stage.DRAINING:
                del self.workers[worker.key]
            else:
                self.enter(worker.key, Stage.IDLE)
        self.dispatch()

    def finish_all(self) -> None:
        """Every request ends, those in the queue too, within half a second."""
        while self.queue or self.count(Stage.RUNNING):
            self.finish(1)
            if not self.count(Stage.RUNNING):
                self.run(0.1)
        self.run(0.5)

    def die(self, count: int) -> None:
        """Workers that were ready die, busy or not; their requests are lost."""
        ready = [w.key for w in self.workers.values() if w.stage is not Stage.BOOTING]
        for key in ready[:count]:
            del self.workers[key]

    def end_boots(self) -> bool:
        """Boots that are due succeed or fail; says whether any was."""
        due = [
            w
            for w in self.workers.values()
            if w.stage is Stage.BOOTING and w.started_s + self.boot_s <= self.now_s
        ]
        for worker in due:
            if self.boots_fail:
                del self.workers[worker.key]
                self.memory = note_boot_failed(self.memory, self.now_s, started_s=worker.started_s)
            else:
                self.enter(worker.key, Stage.IDLE)
                self.memory = note_ready(self.memory)
        self.dispatch()
        return bool(due)

    def run(self, seconds: float) -> None:
        """Let time pass, from one event that the master would learn of to the next."""
        end_s = self.now_s + seconds
        self.look()
        while True:
            boots = [
                w.started_s + self.boot_s for w in self.workers.values() if w.stage is Stage.BOOTING
            ]
            times = [*boots, *([self.next_look_s] if self.next_look_s is not None else [])]
            next_s = min(times, default=end_s)
            if next_s > end_s:
                break
            if not times:
                break
            self.now_s = max(self.now_s, next_s)
            self.end_boots()
            self.look()
            assert self.decisions < 50_000
        self.now_s = end_s
        self.end_boots()
        self.look()

    def actions(self, kind: type, since_s: float = 0.0) -> list[object]:
        return [a for at, a in self.history if isinstance(a, kind) and at >= since_s]
