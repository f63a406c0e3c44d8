"""How many workers a pool should have: pure decisions, applied by the master.

`decide(view, limits, memory, now_s)` looks at a pool and answers with actions, a new memory and
the time of the next look. It knows no clock, no socket and no process.
"""

from pyfpm.policy.actions import (
    Action,
    Replace,
    ReportBusy,
    ReportMaxChildren,
    ReportProcessMax,
    Retire,
    Spawn,
)
from pyfpm.policy.boot_backoff import note_boot_failed, note_ready
from pyfpm.policy.decide import Decision, decide
from pyfpm.policy.limits import Limits, ProcessManager
from pyfpm.policy.memory import Memory, note_limits_changed
from pyfpm.policy.process_max import Claim, claim_of, room_of
from pyfpm.policy.view import PoolView, WorkerView

__all__ = [
    "Action",
    "Claim",
    "Decision",
    "Limits",
    "Memory",
    "PoolView",
    "ProcessManager",
    "Replace",
    "ReportBusy",
    "ReportMaxChildren",
    "ReportProcessMax",
    "Retire",
    "Spawn",
    "WorkerView",
    "claim_of",
    "decide",
    "note_boot_failed",
    "note_limits_changed",
    "note_ready",
    "room_of",
]
