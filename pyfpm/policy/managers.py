"""What each of the three process managers wishes for, before any bound is applied."""

from dataclasses import dataclass, replace

from pyfpm.policy.limits import Limits
from pyfpm.policy.memory import Memory
from pyfpm.policy.scale_down import retire_spare, retire_unused
from pyfpm.policy.scale_up import floor_growth, is_saturated, saturation_growth, spare
from pyfpm.policy.view import PoolView

MAINTENANCE_S = 1.0
BUSY_RATE = 8
"""From this rate on growth to the floor is reported, as PHP-FPM does."""
RECHECK_S = 0.1
"""How soon a waiting connection is looked at again: a wake-up may have been lost (EPOLLEXCLUSIVE
wakes one sleeper, which may die of it), and one readable listener may hide many connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a manager would do if nothing bounded it.

    `missing` workers once were there or are due by configuration, `growth` is wanted on top of
    what there was; whoever comes for one serves the other too. `at_limit`: growth was wanted and
    pm.max_children forbids it. `strained`: growth has gone on second after second. `unneeded`
    workers retire now or at the next occasion, and so need no replacement. `memory` is what the
    manager remembers apart from the spawns; `next_look_s` when it wants to be asked again if
    nothing happens.
    """

    memory: Memory
    missing: int = 0
    growth: int = 0
    retire: tuple[int, ...] = ()
    unneeded: tuple[int, ...] = ()
    at_limit: bool = False
    strained: bool = False
    next_look_s: float | None = None


def wish_static(view: PoolView, limits: Limits, memory: Memory) -> Wish:
    """Always pm.max_children workers; a static pool is at its limit by design and never says so."""
    return Wish(memory=memory, missing=max(0, limits.max_children - view.serving))


def wish_ondemand(view: PoolView, limits: Limits, memory: Memory, now_s: float) -> Wish:
    """Workers while connections wait, none after the idle timeout.

    A dead worker is replaced only if a connection waits: the pool owes nobody a number.
    """
    if not view.waiting:
        memory = replace(memory, rate=1)
    saturated = is_saturated(view, now_s)
    room = limits.max_children - view.serving
    growth = min(saturation_growth(view, memory, 1), room) if saturated else 0
    unneeded = retire_unused(view, limits, now_s)
    return Wish(
        memory=memory,
        growth=max(0, growth),
        retire=() if view.waiting else unneeded,
        unneeded=unneeded,
        at_limit=saturated and room <= 0,
        next_look_s=_next_ondemand_look(view, limits, now_s),
    )


def _next_ondemand_look(view: PoolView, limits: Limits, now_s: float) -> float | None:
    """Soon while something waits, else at the next idle timeout; never when there is no worker."""
    if view.waiting:
        full = view.serving >= limits.max_children
        return now_s + (MAINTENANCE_S if full else RECHECK_S)
    if not view.serving:
        return None
    if view.booting:
        return now_s + MAINTENANCE_S
    timeout_s = limits.process_idle_timeout_s
    ends = [worker.quiet_since_s + timeout_s for worker in view.idle]
    if len(ends) < view.serving:
        # Nobody tells when a busy worker becomes idle; it cannot be due before this.
        ends.append(now_s + timeout_s)
    # Those that are due already retire in this decision; whoever stays is looked at again then.
    later = [end for end in ends if end > now_s]
    return min(later) if later else None


def wish_dynamic(view: PoolView, limits: Limits, memory: Memory, now_s: float) -> Wish:
    """Between min and max spare servers: growth at saturation at once, the rest once a second."""
    first = limits.start_servers if memory.target is None else memory.target
    target = min(max(first, view.serving), limits.max_children)
    maintains = memory.maintain_s <= now_s
    saturated = is_saturated(view, now_s)
    missing = target - view.serving
    short = spare(view) + missing < limits.min_spare_servers
    if not view.waiting and not short:
        memory = replace(memory, rate=1)
    growth = 0
    if saturated:
        growth = saturation_growth(view, memory, limits.min_spare_servers)
    elif maintains and short:
        growth = floor_growth(view, limits, memory)
    unneeded = retire_spare(view, limits, memory, now_s)
    retire = unneeded if maintains and not missing else ()
    room = limits.max_children - view.serving
    maintain_s = now_s + MAINTENANCE_S if maintains else memory.maintain_s
    return Wish(
        memory=replace(memory, target=target - len(retire), maintain_s=maintain_s),
        missing=missing,
        growth=max(0, min(growth, room)),
        retire=retire,
        unneeded=unneeded,
        at_limit=growth > 0 and room <= 0,
        strained=maintains and growth > 0 and memory.rate >= BUSY_RATE,
        next_look_s=min(maintain_s, now_s + RECHECK_S) if view.waiting and room > 0 else maintain_s,
    )
