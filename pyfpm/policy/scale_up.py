"""When a pool gets more workers, and how many.

A pool is *saturated* when a connection waits, no worker is idle and none is on its way. Then it
grows at once. How deep the queue is cannot be seen cheaply, so growth doubles: 1, 2, 4, … workers,
each step only after the boots of the step before. N missing workers are there after about
log2(N) boots (more where pm.max_spawn_rate bounds a step), with at most twice as many as needed.
A dynamic pool takes at least pm.min_spare_servers at once, since its once-a-second maintenance
would ask for as many next.

A booting worker is capacity on its way, otherwise one burst of connections would spawn
pm.max_children while the first worker imports. A boot older than BOOT_PATIENCE_S no longer holds
growth back, but then the pool grows by one at a time: it may hang, or all boots may be slow.
"""

from pyfpm.policy.limits import Limits
from pyfpm.policy.memory import Memory, spawned_lately
from pyfpm.policy.view import PoolView

BOOT_PATIENCE_S = 5.0


def is_saturated(view: PoolView, now_s: float) -> bool:
    """Whether a connection waits that no worker will take soon."""
    if not view.waiting or view.has_idle:
        return False
    return all(worker.started_s + BOOT_PATIENCE_S <= now_s for worker in view.booting)


def spare(view: PoolView) -> int:
    """How many workers are or will soon be without a request."""
    return len(view.idle) + len(view.booting)


def saturation_growth(view: PoolView, memory: Memory, at_least: int) -> int:
    """How many workers a saturated pool asks for."""
    return 1 if view.booting else max(memory.rate, at_least)


def floor_growth(view: PoolView, limits: Limits, memory: Memory) -> int:
    """How many workers a dynamic pool asks for that has fewer spare than pm.min_spare_servers."""
    return min(memory.rate, limits.min_spare_servers - spare(view))


def allowance(
    view: PoolView, limits: Limits, memory: Memory, now_s: float, *, spawned: int = 0
) -> int:
    """How many workers may be spawned now.

    Bounded by spawn rate, process.max, boot back-off, and the workers that drain.

    Draining workers do not count against pm.max_children, so that long requests in them cost the
    pool no capacity. But nobody makes a worker that drains by itself end, so together they are as
    many again at most: otherwise a worker that says that it drains, and stays, and its successor
    that does the same, would fill the machine.

    After a failed boot that is one worker, once the pause is over and no boot is under way.
    `spawned` workers are spawned in this decision already, and `memory` knows of them.
    """
    free = min(limits.max_spawn_rate - spawned_lately(memory), view.room - spawned)
    free = min(free, limits.most_processes - view.total - spawned)
    if memory.degraded:
        free = 0 if view.booting or spawned or now_s < memory.retry_s else min(free, 1)
    return max(0, free)
