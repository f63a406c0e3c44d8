"""The status of all pools as a table for people: `pyfpm status`.

It is made from the documents that the master sends, where the width of the terminal is known.
Nothing that says why a pool is unwell is ever cut. In a terminal that is too narrow the blanks
between columns go first, long names of pools get lines of their own, and then the columns go that
matter least.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pyfpm.observe.text import printable

Document = Mapping[str, Any]
"""What `status_to_dict` gives, as JSON has it."""

_POOL_COLUMNS = {
    "POOL": "pool",
    "PM": "process manager",
    "STATE": "state",
    "IDLE": "idle processes",
    "ACTIVE": "active processes",
    "TOTAL": "total processes",
    "MAX": "max children",
    "QUEUE": "listen queue",
    "REQUESTS": "accepted conn",
    "5XX": "requests 5xx",
    "PARKED": "parked connections",
    "GEN": "generation",
}
_PROCESS_HEAD = ("POOL", "PID", "STATE", "REQUESTS", "SECONDS", "PARKED", "GEN", "REQUEST")
_TEXT_COLUMNS = frozenset({"POOL", "PM", "STATE", "REQUEST"})
# What a narrow terminal goes without, the first first.
_DISPENSABLE = ("GEN", "PARKED", "PM", "TOTAL")
_LONG_NAME = 24
_SHORTEST_REQUEST = 20
# No reason that a person wrote is longer; those of applications may be.
_LONGEST_REASON = 4000
_DOTS = "..."


def render_table(pools: Sequence[Document], *, full: bool = False, width: int | None = None) -> str:
    """One row a pool, the reason of each pool that has one, and with `full` the workers.

    `width` is that of the terminal: reasons are broken there, and request lines cut. Without it
    every line is as long as it is.
    """
    lines = _pool_table(pools, width)
    if reasons := [_reason(pool) for pool in pools if pool.get("reason")]:
        lines += ["", *(line for text in reasons for line in _broken(text, width))]
    if full:
        rows = [_process_row(pool["pool"], one) for pool in pools for one in pool["processes"]]
        lines += ["", *_process_table(rows, width)]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _pool_table(pools: Sequence[Document], width: int | None) -> list[str]:
    head = list(_POOL_COLUMNS)
    lines = _columns(head, [_pool_row(pool, head) for pool in pools])
    for column in ("", *_DISPENSABLE):
        if width is None or len(lines[0]) <= width:
            break
        head = [name for name in head if name != column]
        lines = _names_apart(head, [_pool_row(pool, head) for pool in pools], width, gap=" ")
    return lines


def _pool_row(pool: Document, head: Sequence[str]) -> list[str]:
    return [str(pool[_POOL_COLUMNS[name]]) for name in head]


def _reason(pool: Document) -> str:
    reason = pool["reason"]
    cut = reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + _DOTS
    return printable(f"{pool['pool']}: {pool['state']}: {cut}")


def _broken(text: str, width: int | None) -> list[str]:
    """Broken at blanks only: a path or a URL should be one to be copied."""
    if width is None:
        return [text]
    return textwrap.wrap(
        text,
        max(width, 40),
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _process_table(rows: list[list[str]], width: int | None) -> list[str]:
    if width is None:
        return _columns(_PROCESS_HEAD, rows)
    # The request comes last and has what room the others leave.
    others = _columns(_PROCESS_HEAD[:-1], [row[:-1] for row in rows])
    room = max(_SHORTEST_REQUEST, width - len(others[0]) - 2)
    cut = [[*row[:-1], _cut(printable(row[-1]), room)] for row in rows]
    return _names_apart(_PROCESS_HEAD, cut, width)


def _process_row(pool: str, process: Document) -> list[str]:
    request = " ".join(
        text for text in (process["request method"], process["request uri"]) if text != "-"
    )
    return [
        *(pool, str(process["pid"]), process["state"], str(process["requests"])),
        f"{process['request duration'] / 1_000_000:.3f}",
        *(str(process["parked connections"]), str(process["generation"]), request or "-"),
    ]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - len(_DOTS)] + _DOTS


def _names_apart(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int, gap: str = "  "
) -> list[str]:
    """The columns; long names of pools for which there is no room stand on lines of their own."""
    lines = _columns(head, rows, gap)
    others = len(lines[0]) - max((len(row[0]) for row in rows), default=0)
    longest = max(_LONG_NAME, width - others)
    shortened = [["" if len(row[0]) > longest else row[0], *row[1:]] for row in rows]
    first, *lines = _columns(head, shortened, gap)
    apart = [first]
    before = ""
    for row, line in zip(rows, lines, strict=True):
        if len(row[0]) > longest and row[0] != before:
            apart.append(row[0])
        before = row[0]
        apart.append(line)
    return apart


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Rows under their head: texts to the left, numbers to the right."""
    cells = [head, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        gap.join(
            cell.ljust(width) if name in _TEXT_COLUMNS else cell.rjust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        )
        for row in cells
    ]
