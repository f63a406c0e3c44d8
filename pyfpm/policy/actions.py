"""What the policy can ask of the master."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start `count` workers (at least 1)."""

    count: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Ask the worker with this key to drain and leave; it is never killed for it."""

    key: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Start one worker of the current generation to take the place of the worker with this key.

    That one is `outgoing` from now on and serves until the new one is ready; then it drains. If
    the new one is gone before it was ready, for whatever reason (a failed boot, or retired with a
    lowered pm.max_children), the old one is no longer outgoing, but still due.
    """

    key: int


@dataclass(frozen=True, slots=True)
class ReportMaxChildren:
    """The pool wants to grow past pm.max_children: one warning and one count per episode."""

    max_children: int


@dataclass(frozen=True, slots=True)
class ReportProcessMax:
    """process.max leaves no room for `wanted` workers of this pool: one warning per episode."""

    wanted: int


@dataclass(frozen=True, slots=True)
class ReportBusy:
    """The pool needs ever more workers second after second: PHP-FPM's "seems busy" warning."""

    spawning: int
    idle: int
    total: int


Action = Spawn | Replace | Retire | ReportMaxChildren | ReportProcessMax | ReportBusy
