"""One decision: the manager's wish, cut down to what the bounds allow.

The bounds are the same for all three managers, so they are applied in one place: the spawn rate,
process.max and the back-off after failed boots (`scale_up.allowance`). Workers that are to be
replaced (`replacement`) share them with those that are missing or wanted for growth.

The caller asks again whenever the view changes in a way that it learns of (a worker ready, dead
or drained, a connection waiting, room freed), and at `next_look_s` at the latest. It applies the
actions in their order and shows them in the next view.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import assert_never

from pyfpm.policy.actions import (
    Action,
    Replace,
    ReportBusy,
    ReportMaxChildren,
    ReportProcessMax,
    Retire,
    Spawn,
)
from pyfpm.policy.limits import Limits, ProcessManager
from pyfpm.policy.managers import (
    MAINTENANCE_S,
    RECHECK_S,
    Wish,
    wish_dynamic,
    wish_ondemand,
    wish_static,
)
from pyfpm.policy.memory import (
    EPISODE_GAP_S,
    SPAWN_WINDOW_S,
    Memory,
    forget_old_spawns,
    remember_spawns,
    spawned_lately,
)
from pyfpm.policy.replacement import PUT_OFF_PATIENCE_S, wanted_replacements
from pyfpm.policy.scale_down import retire_surplus
from pyfpm.policy.scale_up import allowance
from pyfpm.policy.view import PoolView


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, what to remember, and when to ask again.

    `next_look_s` is a time on the clock of `now_s`; None means that nothing is due before the
    view changes. `may_grow` says whether a waiting connection could make the pool spawn: only
    then need the master watch the listeners.
    """

    actions: tuple[Action, ...]
    memory: Memory
    next_look_s: float | None
    may_grow: bool


def decide(view: PoolView, limits: Limits, memory: Memory, now_s: float) -> Decision:
    """Decide what a pool that looks like `view` needs at `now_s` (monotonic seconds)."""
    memory = forget_old_spawns(memory, now_s)
    surplus = retire_surplus(view, limits)
    if surplus:
        return Decision(_retirements(surplus), memory, now_s + RECHECK_S, may_grow=False)
    return _bounded(_wish(view, limits, memory, now_s), view, limits, now_s)


def _wish(view: PoolView, limits: Limits, memory: Memory, now_s: float) -> Wish:
    match limits.pm:
        case ProcessManager.STATIC:
            return wish_static(view, limits, memory)
        case ProcessManager.DYNAMIC:
            return wish_dynamic(view, limits, memory, now_s)
        case ProcessManager.ONDEMAND:
            return wish_ondemand(view, limits, memory, now_s)
        case _:
            assert_never(limits.pm)


def _bounded(wish: Wish, view: PoolView, limits: Limits, now_s: float) -> Decision:
    wanted = max(wish.missing, wish.growth)
    count = min(wanted, allowance(view, limits, wish.memory, now_s))
    actions: list[Action] = []
    memory, report = _episodes(wish, wanted, view, limits, now_s)
    if report is not None:
        actions.append(report)
    if count:
        if wish.strained:
            actions.append(ReportBusy(count, len(view.idle), view.serving))
        actions.append(Spawn(count))
        memory = _after_spawns(memory, count, wish, limits, now_s)
    # Replacements get what is left: a missing worker is less capacity, a due one is not.
    due = wanted_replacements(view, limits, wish.unneeded, count)
    replaced = due[: allowance(view, limits, memory, now_s, spawned=count)]
    crowded = view.room <= count
    memory, reports = _after_replacements(memory, len(due), len(replaced), now_s, crowded=crowded)
    actions.extend(reports)
    actions.extend(Replace(key) for key in replaced)
    actions.extend(_retirements(wish.retire))
    boots = count + len(replaced)
    looks = [wish.next_look_s]
    if boots < wanted + len(due):
        looks.append(_next_chance_s(view, limits, memory, boots, now_s))
    return Decision(
        tuple(actions),
        memory,
        min((look for look in looks if look is not None), default=None),
        may_grow=_may_grow(view, limits, memory, boots, now_s),
    )


def _after_spawns(memory: Memory, count: int, wish: Wish, limits: Limits, now_s: float) -> Memory:
    memory = remember_spawns(memory, count, now_s)
    if count <= wish.missing:
        return memory
    rate = min(memory.rate * 2, limits.max_spawn_rate)
    return replace(memory, rate=rate, grown_s=now_s)


def _episodes(
    wish: Wish, wanted: int, view: PoolView, limits: Limits, now_s: float
) -> tuple[Memory, Action | None]:
    """Say once per episode that a limit is in the way."""
    memory = wish.memory
    if wish.at_limit:
        begins = memory.capped_s + EPISODE_GAP_S <= now_s
        report = ReportMaxChildren(limits.max_children) if begins else None
        return replace(memory, capped_s=now_s), report
    if wanted > max(0, view.room) and not memory.degraded:
        begins = memory.crowded_s + EPISODE_GAP_S <= now_s
        return replace(memory, crowded_s=now_s), ReportProcessMax(wanted) if begins else None
    return memory, None


def _after_replacements(
    memory: Memory, due: int, replaced: int, now_s: float, *, crowded: bool
) -> tuple[Memory, tuple[Action, ...]]:
    """Remember replacements; say once per episode that process.max has put them off for long."""
    if replaced or not due or not crowded or memory.degraded:
        return replace(remember_spawns(memory, replaced, now_s), put_off_s=inf), ()
    since_s = min(memory.put_off_s, now_s)
    memory = replace(memory, put_off_s=since_s)
    if since_s + PUT_OFF_PATIENCE_S > now_s:
        return memory, ()
    begins = memory.crowded_s + EPISODE_GAP_S <= now_s
    return replace(memory, crowded_s=now_s), (ReportProcessMax(due),) if begins else ()


def _next_chance_s(
    view: PoolView, limits: Limits, memory: Memory, count: int, now_s: float
) -> float | None:
    """When more workers may boot than the `count` of this decision."""
    if memory.degraded:
        if view.booting or count:
            return None  # the end of that boot is what comes next
        if memory.retry_s > now_s:
            return memory.retry_s
    if spawned_lately(memory) >= limits.max_spawn_rate:
        return memory.spawns[0][0] + SPAWN_WINDOW_S
    return now_s + MAINTENANCE_S


def _may_grow(view: PoolView, limits: Limits, memory: Memory, count: int, now_s: float) -> bool:
    """Whether a connection that begins to wait could make the pool spawn.

    Not while a boot is under way or a pause lasts: their ends bring the next decision anyway.
    """
    if limits.pm is ProcessManager.STATIC or view.booting or count:
        return False
    if view.room <= 0 or view.total >= limits.most_processes:
        return False
    return view.serving < limits.max_children and memory.retry_s <= now_s


def _retirements(keys: tuple[int, ...]) -> tuple[Retire, ...]:
    return tuple(Retire(key) for key in keys)
