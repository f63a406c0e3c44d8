"""When a pool gets smaller, and which workers go.

Nothing here kills: a worker is asked to retire, finishes what it holds, and leaves.
"""

from pyfpm.policy.limits import Limits
from pyfpm.policy.memory import Memory
from pyfpm.policy.view import PoolView

SETTLE_S = 5.0
"""A dynamic pool that has just grown keeps what it got for so long: load comes in waves, and a
worker retired between two of them would have to boot again for the second."""


def retire_surplus(view: PoolView, limits: Limits) -> tuple[int, ...]:
    """Workers above pm.max_children after the limit was lowered.

    Due ones go first, since each of them would need a boot soon. Then idle ones, then booting
    ones, then busy ones, which finish their request.
    """
    surplus = view.serving - limits.max_children
    if surplus <= 0:
        return ()
    spared = (*view.idle, *view.booting)
    busy = sorted(
        (w for w in view.workers if w.holds_place and w not in spared),
        key=lambda worker: (worker.started_s, worker.key),
    )
    in_turn = sorted((*spared, *busy), key=lambda worker: not worker.due)
    return tuple(worker.key for worker in in_turn[:surplus])


def retire_spare(view: PoolView, limits: Limits, memory: Memory, now_s: float) -> tuple[int, ...]:
    """The one worker that a dynamic pool with more than pm.max_spare_servers idle gives up.

    One at a time, and asked once a second, as PHP-FPM does: load that ebbs comes back.
    """
    settled = memory.grown_s + SETTLE_S <= now_s
    if view.waiting or not settled or view.idle_count <= limits.max_spare_servers:
        return ()
    return tuple(worker.key for worker in view.idle[:1])


def retire_unused(view: PoolView, limits: Limits, now_s: float) -> tuple[int, ...]:
    """Every worker of an ondemand pool that has been idle for pm.process_idle_timeout.

    All of them at once: each has shown for the whole timeout that nobody needed it. PHP-FPM's one
    a second would keep a pool of 300 alive for five minutes after its last request.
    """
    timeout_s = limits.process_idle_timeout_s
    return tuple(w.key for w in view.idle if w.quiet_since_s + timeout_s <= now_s)
