"""The status of all pools as a table for people: `pyfpm status`."""

from collections.abc import Sequence

from pyfpm.observe.status import PoolStatus, ProcessStatus
from pyfpm.observe.text import printable

_POOL_HEAD = (
    *("POOL", "PM", "STATE", "IDLE", "ACTIVE", "TOTAL", "MAX"),
    *("QUEUE", "REQUESTS", "5XX", "PARKED", "GEN"),
)
_PROCESS_HEAD = ("POOL", "PID", "STATE", "REQUESTS", "SECONDS", "PARKED", "GEN", "REQUEST")
_TEXT_COLUMNS = frozenset({"POOL", "PM", "STATE", "REQUEST"})


def render_table(statuses: Sequence[PoolStatus], *, full: bool = False, width: int = 120) -> str:
    """One row a pool, a line for each pool that has a reason to give, and with `full` the workers.

    Lines are cut to `width` characters, which only long request lines and reasons reach.
    """
    lines = _columns(_POOL_HEAD, [_pool_row(status) for status in statuses])
    reasons = [f"{s.pool}: {s.state}: {s.reason}" for s in statuses if s.reason]
    if reasons:
        lines += ["", *map(printable, reasons)]
    if full:
        rows = [_process_row(s.pool, process) for s in statuses for process in s.processes]
        lines += ["", *_columns(_PROCESS_HEAD, rows)]
    return "".join(f"{line[:width].rstrip()}\n" for line in lines)


def _pool_row(status: PoolStatus) -> tuple[str, ...]:
    numbers = (
        *(status.idle, status.active, status.total, status.max_children),
        *(status.listen_queue, status.accepted, status.requests_5xx),
        *(status.parked, status.generation),
    )
    return (status.pool, status.process_manager, status.state, *map(str, numbers))


def _process_row(pool: str, process: ProcessStatus) -> tuple[str, ...]:
    request = f"{process.method} {process.uri}".strip()
    return (
        *(pool, str(process.pid), process.state, str(process.requests)),
        f"{process.duration_us / 1_000_000:.3f}",
        *(str(process.parked), str(process.generation), request or "-"),
    )


def _columns(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Rows under their head: texts to the left, numbers to the right, two blanks between."""
    cells = [head, *(tuple(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if name in _TEXT_COLUMNS else cell.rjust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        )
        for row in cells
    ]
