"""What the operator allows a pool: the `pm.*` numbers that the policy works within."""

from dataclasses import dataclass
from enum import Enum


class ProcessManager(Enum):
    """The three ways to size a pool; the values are the words of the `pm` key."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    ONDEMAND = "ondemand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """One pool's limits; `config` fills them and has checked that they fit together.

    `min_spare_servers`, `max_spare_servers` and `start_servers` matter to `dynamic` only,
    `process_idle_timeout_s` to `ondemand` only. `max_spawn_rate` is a hard bound: no second,
    wherever it begins, sees more spawns than that. `reload_surge` is how many workers more than
    `max_children` there may be while some are replaced (at least 1).
    """

    pm: ProcessManager
    max_children: int
    min_spare_servers: int = 1
    max_spare_servers: int = 1
    start_servers: int = 1
    max_spawn_rate: int = 32
    reload_surge: int = 1
    process_idle_timeout_s: float = 10.0

    @property
    def most_processes(self) -> int:
        """How many workers there may be in all, those that drain by themselves included."""
        return 2 * self.max_children + self.reload_surge
