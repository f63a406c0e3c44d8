"""How much of process.max a pool may take, so that none takes what is another's.

What a pool has beyond pm.max_children (a replacement that boots, workers that drain) may stay for
ever: nobody makes a worker end that says that it drains. So

* up to pm.max_children, first come is first served;
* one place more, in which a pool replaces its workers one after the other, may be taken from what
  the others do not use: where process.max is the sum of pm.max_children, nothing could be reloaded
  otherwise. But not the last place of all while another pool has no worker, which would get none
  as long as somebody drains; unless it is the operator who asks for a reload or a restart;
* everything beyond comes out of what all others together leave of pm.max_children and
  pm.reload_surge, if they leave any.

Where process.max is at least the sum of pm.max_children and pm.reload_surge over all pools, each
has both whatever the others do. Where it is less, one that keeps places for ever costs the others
one of them.

Pools that are reloaded and wait for room do not wait for each other: no pool needs a second place
in order to give the first one back. What boots in it becomes ready or fails, and then a worker
drains. A drain without end costs its own pool the reload, which says so and makes way for the next
(master.succession).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pyfpm.policy.limits import Limits


@dataclass(frozen=True, slots=True)
class Claim:
    """A pool that runs, or is to run: the processes that it has, and what its limits allow it."""

    processes: int
    max_children: int
    reload_surge: int

    @property
    def left(self) -> int:
        """How many it may still have without being more than its pm.max_children."""
        return self.max_children - self.processes

    @property
    def unused(self) -> int:
        """How many others leave free for it."""
        return max(0, self.left + self.reload_surge)


def claim_of(limits: Limits, processes: int) -> Claim:
    """The claim of a pool with these limits that has so many processes."""
    return Claim(processes, limits.max_children, limits.reload_surge)


def room_of(
    own: Claim, others: Iterable[Claim], process_max: int, *, takes_last: bool = False
) -> int:
    """How many processes more this pool may have; 0 or less if none.

    `takes_last`: also the last place of all, though another pool has no worker.
    """
    others = tuple(others)
    free = process_max - own.processes - sum(other.processes for other in others)
    last = not takes_last and any(not other.processes for other in others)
    unused = sum(other.unused for other in others)
    return max(min(free, own.left), min(free - last, own.left + 1), free - unused)
