"""What the policy remembers of one pool from one decision to the next."""

from dataclasses import dataclass, replace
from math import inf

SPAWN_WINDOW_S = 1.0
EPISODE_GAP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Everything that outlives a decision; `Memory()` is a pool that has not started.

    `target` is the number of workers that a dynamic pool has grown to (None before its start).
    It follows the workers upwards, and only retirement lowers it: a death leaves it as it is, and
    so the dead worker is replaced at once. `rate` doubles while growth goes on. `maintain_s` is
    when the next once-a-second look is due, `grown_s` the last growth.

    `spawns` lists (time, count) of the last second. `boot_failures` counts boots that failed in a
    row; until `retry_s` nothing is spawned. `failed_s` is the last failure counted.

    `capped_s` and `crowded_s` say when pm.max_children and process.max were last in the way: a
    limit that has not been in the way for EPISODE_GAP_S begins a new episode when it is again.
    A gap, and not the first moment without need, because a loaded pool touches its limit many
    times a second and the operator wants one line about it. `put_off_s` is since when process.max
    has left no room for a single replacement (infinite while it does not).
    """

    target: int | None = None
    rate: int = 1
    maintain_s: float = -inf
    grown_s: float = -inf
    spawns: tuple[tuple[float, int], ...] = ()
    boot_failures: int = 0
    failed_s: float = -inf
    retry_s: float = -inf
    capped_s: float = -inf
    crowded_s: float = -inf
    put_off_s: float = inf

    @property
    def degraded(self) -> bool:
        """Whether the latest boot failed, so that the pool spawns only now and then."""
        return self.boot_failures > 0


def note_limits_changed(memory: Memory) -> Memory:
    """Remember that other limits hold from now on.

    A dynamic pool begins anew with its size: what it has, and pm.start_servers at least. A new
    limit in the way is worth a report although the old one was reported just before.
    """
    fresh = Memory()
    return replace(memory, target=None, capped_s=fresh.capped_s, crowded_s=fresh.crowded_s)


def remember_spawns(memory: Memory, count: int, now_s: float) -> Memory:
    """Add `count` spawns at `now_s`."""
    if not count:
        return memory
    return replace(memory, spawns=(*memory.spawns, (now_s, count)))


def forget_old_spawns(memory: Memory, now_s: float) -> Memory:
    """Drop the spawns that lie a whole second back and no longer bound anything."""
    if not memory.spawns or memory.spawns[0][0] + SPAWN_WINDOW_S > now_s:
        return memory
    recent = tuple(spawn for spawn in memory.spawns if spawn[0] + SPAWN_WINDOW_S > now_s)
    return replace(memory, spawns=recent)


def spawned_lately(memory: Memory) -> int:
    """How many spawns the last second has seen; old ones have been forgotten before."""
    return sum(count for _, count in memory.spawns)
