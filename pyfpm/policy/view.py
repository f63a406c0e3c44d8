"""What the master sees of a pool at one moment: the policy's whole input."""

from dataclasses import dataclass

from pyfpm.scoreboard import Stage

SERVING = frozenset({Stage.BOOTING, Stage.IDLE, Stage.READING, Stage.RUNNING, Stage.FINISHING})
"""Stages that count against pm.max_children; a draining worker does not."""

READY = SERVING - {Stage.BOOTING}
"""Stages of a worker that takes connections, now or after its request."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker as the policy knows it.

    `key` names it in a `Retire` or a `Replace`. `quiet_since_s` is the monotonic time at which it
    became idle (only read while the stage is IDLE), `started_s` the time at which it was spawned.

    `due`: it should make way for a new one (recycling, an older generation, a restart). `outgoing`:
    its replacement has been asked for and is not ready yet; until then this one serves on.
    """

    key: int
    stage: Stage
    quiet_since_s: float
    started_s: float
    due: bool = False
    outgoing: bool = False

    @property
    def holds_place(self) -> bool:
        """Whether it counts; an outgoing worker's replacement counts in its stead."""
        return self.stage in SERVING and not self.outgoing


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool at one moment.

    The view shows what the master *decided*, not only what the workers got round to: a spawned
    worker is BOOTING from the moment of the spawn, a worker told to retire is DRAINING from that
    moment, and a worker whose replacement was asked for is outgoing from that moment. Otherwise
    the same need would be answered twice.

    `waiting` says that a connection waits for a worker: a listener is readable, a hand-off
    message is unread, some worker has parked connections pending, or one of the connections that
    the master adopted is readable. `room` is how many more processes `process.max` leaves for
    this pool (a large number where there is no such limit).
    """

    workers: tuple[WorkerView, ...]
    waiting: bool
    room: int

    @property
    def serving(self) -> int:
        """How many workers count against pm.max_children."""
        return sum(worker.holds_place for worker in self.workers)

    @property
    def total(self) -> int:
        """How many workers there are, with those that go or drain."""
        return len(self.workers)

    @property
    def idle(self) -> tuple[WorkerView, ...]:
        """The idle workers that may retire, in that order: due ones, then the longest idle.

        Outgoing ones are not among them: they go without being asked again.
        """
        idle = (w for w in self.workers if w.stage is Stage.IDLE and w.holds_place)
        return tuple(sorted(idle, key=lambda w: (not w.due, w.quiet_since_s, w.key)))

    @property
    def idle_count(self) -> int:
        """How many workers would take a connection now; outgoing ones do until they drain."""
        return sum(worker.stage is Stage.IDLE for worker in self.workers)

    @property
    def has_idle(self) -> bool:
        """Whether anybody would take a connection now."""
        return self.idle_count > 0

    @property
    def booting(self) -> tuple[WorkerView, ...]:
        """The booting workers, the youngest first."""
        booting = (worker for worker in self.workers if worker.stage is Stage.BOOTING)
        return tuple(sorted(booting, key=lambda worker: (-worker.started_s, worker.key)))
