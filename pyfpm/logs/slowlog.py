"""The slow log: one entry for each request that took too long, in PHP-FPM's look.

    [21-Nov-2026 10:00:00]  [pool shop] pid 123
    request = GET /report?year=2026
    seconds = 5.021
    main thread 0x00007f0d8c2b1040, newest call last:
      ... 12 older calls left out
      app() /srv/shop/app.py:14
      total() /srv/shop/report.py:80

and a blank line. What comes from outside (the request, the stacks) is cleaned of control
characters, and only the master's own lines begin at the left edge with a bracket.
"""

import logging
from dataclasses import dataclass

from pyfpm.logs.errorlog import SLOW_LOGS, LogFile
from pyfpm.logs.formats import JsonFormatter, clean, cut, format_date, moment_of
from pyfpm.logs.levels import Level
from pyfpm.logs.writer import Log

_MOST_REQUEST = 512


@dataclass(frozen=True, slots=True)
class SlowEntry:
    """One slow request. `stacks` are lines of text."""

    pid: int
    request: str
    seconds: float
    stacks: str


class SlowLog:
    """Where the entries of one pool go: a file, or the error log where `path` is None.

    PyfpmError if the file cannot be opened. Pools may share a file: each entry is one write.
    """

    def __init__(self, path: str | None, pool: str, *, json: bool) -> None:
        self.path = path
        self._pool = pool
        self._log = Log(pool)
        self._file: LogFile | None = None
        if path is not None:
            self._file = LogFile(path)
            self._file.setFormatter(JsonFormatter(0) if json else _EntryFormatter())
            SLOW_LOGS.addHandler(self._file)

    def write(self, entry: SlowEntry) -> None:
        """Write one entry; the error log has a line of it in any case."""
        line = f"child {entry.pid}, {describe_request(entry.request)}: executing too slow"
        line += f" ({entry.seconds:.2f} s)"
        after = f"\n{entry.stacks}" if self._file is None else f": see {self.path}"
        fields = {"pid": entry.pid, "request": entry.request, "seconds": round(entry.seconds, 3)}
        self._log.warning("slow_request", line + after, **fields)
        if self._file is not None:
            record = logging.LogRecord(__name__, Level.WARNING, "", 0, "%s", (line,), None)
            record.pool, record.event, record.worker_pid = self._pool, "slow_request", entry.pid
            record.fields = {**fields, "stacks": entry.stacks.splitlines()}
            self._file.handle(record)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            SLOW_LOGS.removeHandler(self._file)
            self._file.close()
            self._file = None


def describe_request(request: str) -> str:
    """A request line as messages show it: visible characters only, and not too many of them."""
    return cut(ascii(request)[1:-1], _MOST_REQUEST)


class _EntryFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = vars(record)["fields"]
        date, pool = format_date(moment_of(record)), vars(record)["pool"]
        lines = [
            f"[{date}]  [pool {pool}] pid {fields['pid']}",
            f"request = {clean(fields['request'])}",
            f"seconds = {fields['seconds']:.3f}",
            *map(clean, fields["stacks"]),
        ]
        return "\n".join(lines) + "\n"
