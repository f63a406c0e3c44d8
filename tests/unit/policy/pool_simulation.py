"""A pool made of numbers: workers, a queue and a clock that the test moves.

Driven through `decide` as the master drives it: at every change it would learn of, and at the
time of the next look. It plays the master's part of a replacement too: the old worker drains when
the new one is ready, and serves on when the new one fails. The rules that hold whatever happens
are checked at every decision.
"""

from dataclasses import dataclass, field, replace

from pyfpm.policy import (
    Decision,
    Limits,
    Memory,
    PoolView,
    ProcessManager,
    Replace,
    Retire,
    Spawn,
    WorkerView,
    decide,
    note_boot_failed,
    note_limits_changed,
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
    replacing: dict[int, int] = field(default_factory=dict)
    """Whom a booting worker is to replace."""

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
        before = self.view()
        decision = decide(before, self.limits, self.memory, self.now_s)
        self.memory = decision.memory
        self.next_look_s = decision.next_look_s
        self.decisions += 1
        for action in decision.actions:
            self.history.append((self.now_s, action))
            match action:
                case Spawn(count):
                    assert count > 0
                    for _ in range(count):
                        self.spawn()
                case Replace(key):
                    self.replace(key)
                case Retire(key):
                    self.check_retirement(before, key)
                    self.drain(key)
        # A place that shrinks with its replacement still booting takes a second decision.
        assert self.serving <= max(self.limits.max_children, before.serving)
        assert len(self.workers) <= self.process_max
        assert decision.next_look_s is None or decision.next_look_s > self.now_s
        self.check_spawn_rate()
        return decision

    def spawn(self) -> int:
        self.serial += 1
        self.workers[self.serial] = WorkerView(self.serial, Stage.BOOTING, self.now_s, self.now_s)
        return self.serial

    def replace(self, key: int) -> None:
        old = self.workers[key]
        assert old.due
        assert not old.outgoing
        assert old.stage in {Stage.IDLE, Stage.RUNNING}
        self.workers[key] = replace(old, outgoing=True)
        self.replacing[self.spawn()] = key
        assert len(self.workers) <= self.limits.max_children + self.limits.reload_surge

    def drain(self, key: int) -> None:
        """An idle worker is gone at once, a busy one after its request."""
        if self.workers[key].stage is Stage.RUNNING:
            self.enter(key, Stage.DRAINING)
        else:
            self.remove(key)

    def remove(self, key: int) -> None:
        """A worker is gone; whom it was to replace serves on."""
        del self.workers[key]
        old = self.replacing.pop(key, None)
        if old in self.workers:
            self.workers[old] = replace(self.workers[old], outgoing=False)

    def check_retirement(self, before: PoolView, key: int) -> None:
        """Nobody leaves whom the manager needs, due or not."""
        worker = self.workers[key]
        assert worker.stage is not Stage.DRAINING
        assert not worker.outgoing
        if before.serving > self.limits.max_children:
            return
        assert worker.stage is Stage.IDLE
        assert not before.waiting
        match self.limits.pm:
            case ProcessManager.STATIC:
                raise AssertionError("a complete static pool retired a worker")
            case ProcessManager.DYNAMIC:
                idle = [w for w in before.workers if w.stage is Stage.IDLE]
                assert len(idle) > self.limits.max_spare_servers
            case ProcessManager.ONDEMAND:
                idle_s = self.now_s - worker.quiet_since_s
                assert idle_s >= self.limits.process_idle_timeout_s - 1e-6

    @property
    def ready(self) -> int:
        """How many workers take connections, now or after their request."""
        return self.count(Stage.IDLE, Stage.RUNNING)

    @property
    def due(self) -> int:
        return sum(worker.due for worker in self.workers.values())

    def become_due(self, chosen: int) -> None:
        """Every worker whose bit is set in `chosen` is to be replaced; -1 is all of them."""
        for place, (key, worker) in enumerate(self.workers.items()):
            if chosen >> place & 1:
                self.workers[key] = replace(worker, due=True)

    def scale(self, max_children: int) -> None:
        """The operator changes pm.max_children."""
        self.limits = replace(self.limits, max_children=max_children)
        self.memory = note_limits_changed(self.memory)

    def check_spawn_rate(self) -> None:
        spawns = [
            (at, a.count if isinstance(a, Spawn) else 1)
            for at, a in self.history
            if isinstance(a, Spawn | Replace)
        ]
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
                self.remove(worker.key)
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
            self.remove(key)

    def end_boots(self) -> bool:
        """Boots that are due succeed or fail; says whether any was."""
        ready = self.ready
        due = [
            w
            for w in self.workers.values()
            if w.stage is Stage.BOOTING and w.started_s + self.boot_s <= self.now_s
        ]
        for worker in due:
            if self.boots_fail:
                self.remove(worker.key)
                self.memory = note_boot_failed(self.memory, self.now_s, started_s=worker.started_s)
            else:
                self.enter(worker.key, Stage.IDLE)
                self.memory = note_ready(self.memory)
                old = self.replacing.pop(worker.key, None)
                if old in self.workers and self.workers[old].stage is not Stage.DRAINING:
                    self.drain(old)
        assert self.ready >= ready
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
