"""Which workers make way for new ones, and how many at a time.

A worker that is *due* (its recycle limit is reached, it is of an older generation, a restart was
asked for) serves on until the worker that takes its place is ready. Until then it is *outgoing*,
and the two are one place: the new one counts, the old one does not. So the managers neither
spawn for a place that is being renewed nor see two workers in it, and if the outgoing worker dies
in the meantime its replacement is on the way already.

What a place costs while it is renewed is one process more. `reload_surge` bounds that: workers
that serve, go or drain are never more than pm.max_children and the surge. Without room the
replacement is put off, never forced.
"""

from pyfpm.policy.limits import Limits
from pyfpm.policy.view import READY, PoolView, WorkerView
from pyfpm.scoreboard import Stage

PUT_OFF_PATIENCE_S = 10.0
"""So long may process.max be in the way of replacements before anybody is told: another pool that
reloads takes the room for some seconds, and nobody waits for a recycle."""


def wanted_replacements(
    view: PoolView, limits: Limits, unneeded: tuple[int, ...], spawned: int
) -> tuple[int, ...]:
    """Whom to replace now as far as the surge allows; `spawned` are spawned in this decision.

    `unneeded` workers retire anyway and need no successor. A booting worker waits for the end of
    its boot: nothing is gained by booting a second one beside it.
    """
    if _grows_first(view, limits, spawned):
        return ()
    places = limits.max_children + limits.reload_surge - view.total - spawned
    due = [w for w in view.workers if _is_replaceable(w) and w.key not in unneeded]
    return tuple(worker.key for worker in sorted(due, key=_turn)[: max(0, places)])


def _is_replaceable(worker: WorkerView) -> bool:
    return worker.due and not worker.outgoing and worker.stage in READY


def _turn(worker: WorkerView) -> tuple[bool, float, int]:
    """Idle workers first, then the oldest.

    An idle worker is gone as soon as its replacement is ready and gives its part of the surge
    back; a busy one keeps it as long as its request takes. Few long requests at the head of the
    line would hold up everybody behind them.
    """
    return worker.stage is not Stage.IDLE, worker.started_s, worker.key


def _grows_first(view: PoolView, limits: Limits, spawned: int) -> bool:
    """Whether the pool is short of workers and may still have more.

    Boots hold growth back (`scale_up`). Replacement after replacement with a slow boot would
    starve a pool that needs more places, not newer ones.
    """
    short = view.serving + spawned < limits.max_children
    return short and view.waiting and not view.has_idle
