"""What the master sees of a pool at one moment: the policy's whole input."""

from dataclasses import dataclass

from pyfpm.scoreboard import Stage

SERVING = frozenset({Stage.BOOTING, Stage.IDLE, Stage.READING, Stage.RUNNING, Stage.FINISHING})
"""Stages that count against pm.max_children; a draining worker does not."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker as the policy knows it.

    `key` names it in a `Retire`. `quiet_since_s` is the monotonic time at which it became idle
    (only read while the stage is IDLE), `started_s` the time at which it was spawned.
    """

    key: int
    stage: Stage
    quiet_since_s: float
    started_s: float


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool at one moment.

    The view shows what the master *decided*, not only what the workers got round to: a spawned
    worker is BOOTING from the moment of the spawn, a worker told to retire is DRAINING from that
    moment, and so is a worker that waits for its replacement. Otherwise the same need would be
    answered twice.

    `waiting` says that a connection waits for a worker: a listener is readable, a hand-off
    message is unread, some worker has parked connections pending, or one of the connections that
    the master adopted is readable. `room` is how many more processes `process.max` leaves over
    all pools (a large number where there is no such limit).
    """

    workers: tuple[WorkerView, ...]
    waiting: bool
    room: int

    @property
    def serving(self) -> int:
        """How many workers count against pm.max_children."""
        return sum(worker.stage in SERVING for worker in self.workers)

    @property
    def idle(self) -> tuple[WorkerView, ...]:
        """The idle workers, the one that has been idle longest first."""
        idle = (worker for worker in self.workers if worker.stage is Stage.IDLE)
        return tuple(sorted(idle, key=lambda worker: (worker.quiet_since_s, worker.key)))

    @property
    def booting(self) -> tuple[WorkerView, ...]:
        """The booting workers, the youngest first."""
        booting = (worker for worker in self.workers if worker.stage is Stage.BOOTING)
        return tuple(sorted(booting, key=lambda worker: (-worker.started_s, worker.key)))
