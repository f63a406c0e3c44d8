"""All pools in one line, for those who show a service with a single line: systemctl status."""

from collections.abc import Sequence

from pyfpm.observe.status import PoolStatus
from pyfpm.observe.text import printable
from pyfpm.units import counted

_LONGEST = 500
_WELL = "running"


def render_headline(statuses: Sequence[PoolStatus]) -> str:
    """`3 pools, 12 workers, 2 idle; pool blog is degraded: no database`, without a line break."""
    workers = sum(status.total for status in statuses)
    idle = sum(status.idle for status in statuses)
    parts = [f"{counted(len(statuses), 'pool')}, {counted(workers, 'worker')}, {idle} idle"]
    for status in statuses:
        if status.state != _WELL:
            reason = f": {status.reason}" if status.reason else ""
            parts.append(f"pool {status.pool} is {status.state}{reason}")
    return printable("; ".join(parts))[:_LONGEST]
