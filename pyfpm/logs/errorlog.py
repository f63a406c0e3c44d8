"""Opening the error log.

The master opens it, possibly as root, in a folder that others may have touched. So symbolic
links are not followed, and a folder that somebody other than root or the master's own user can
write is refused: its owner could swap the file for another between two openings (kernel.log_path).
"""

import contextlib
import copy
import logging
import logging.handlers
import os
import select
import sys
from dataclasses import dataclass
from typing import TextIO

from pyfpm.errors import PyfpmError, reason_of
from pyfpm.kernel.log_path import STDERR_NAMES, find_file_fault, find_folder_fault
from pyfpm.logs.formats import OUTPUT, JsonFormatter, TextFormatter
from pyfpm.logs.levels import Level

_FILE_MODE = 0o640
# Holds the open slow logs, as the root logger holds the error log; nothing is logged through it,
# since each pool writes to its own.
SLOW_LOGS = logging.getLogger("pyfpm-slow-logs")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`target` is a path, `stderr` or `syslog`; `limit` the longest line in characters."""

    target: str
    level: Level
    json: bool
    limit: int


def open_log(settings: LogSettings) -> None:
    """Send every record of pyfpm to the target from now on; PyfpmError where it cannot be opened.

    A previous target is closed.
    """
    handler = _handler_for(settings.target)
    formatter = JsonFormatter if settings.json else TextFormatter
    handler.setFormatter(formatter(settings.limit))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("pyfpm").setLevel(settings.level)
    logging.raiseExceptions = False  # a full disk under the log must not end the master


def reopen_log() -> list[str]:
    """Open log files anew under their names, after a rotation; other targets stay as they are.

    Return the paths that were opened. No line is lost: each goes to the old file or to the new one.
    One that cannot be opened keeps its old file, and PyfpmError says so after the others.
    """
    opened: list[str] = []
    problems: list[str] = []
    for handler in (*logging.getLogger().handlers, *SLOW_LOGS.handlers):
        if isinstance(handler, LogFile):
            try:
                handler.reopen()
                opened.append(handler.path)
            except PyfpmError as error:
                problems.append(str(error))
    if problems:
        raise PyfpmError("; ".join(dict.fromkeys(problems)))
    return list(dict.fromkeys(opened))


def takes_many_lines() -> bool:
    """Whether one write takes many lines of a worker; for syslog each is a message of its own."""
    return not any(isinstance(one, _Syslog) for one in logging.getLogger().handlers)


def _handler_for(target: str) -> logging.Handler:
    if target in STDERR_NAMES:
        return logging.StreamHandler(_InParts(sys.stderr))
    if target == "syslog":
        return _Syslog("/dev/log", _Syslog.LOG_DAEMON)
    return LogFile(target)


class _Syslog(logging.handlers.SysLogHandler):
    ident = "pyfpm: "

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) != OUTPUT:
            super().emit(record)
            return
        for line in record.getMessage().split("\n"):
            one = copy.copy(record)
            one.args = (line,)
            super().emit(one)


class _InParts:
    """Standard error: perhaps a pipe into which workers write their access lines, too.

    What a pipe takes whole is never torn apart by another writer (pipe(7), PIPE_BUF), so no more
    is written at once; each part are whole lines, but for a line that is longer.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.flush = stream.flush

    def write(self, text: str) -> None:
        """`text` ends with a line break, upon which the stream writes what it has."""
        data = text.encode("utf-8", "backslashreplace")
        start = 0
        while start < len(data):
            end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
            end = end or data.find(b"\n", start) + 1 or len(data)
            self._stream.write(data[start:end].decode())
            start = end


class LogFile(logging.StreamHandler[TextIO]):
    """A log in a file; PyfpmError where the file may not be one."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(_open(path))

    def reopen(self) -> None:
        """Switch over; the old file stays in use if the new one cannot be opened."""
        fresh = _open(self.path)
        self.acquire()
        try:
            old, self.stream = self.stream, fresh
        finally:
            self.release()
        _close(old)

    def close(self) -> None:
        """Close the file."""
        super().close()
        _close(self.stream)


def _close(stream: TextIO) -> None:
    """Close a log that may still hold a line which a full disk refused; that line is lost."""
    with contextlib.suppress(OSError):
        stream.close()


def _open(path: str) -> TextIO:
    descriptor = open_file(path, by_workers=False)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "a", buffering=1, encoding="utf-8", errors="backslashreplace")


def open_file(path: str, *, by_workers: bool) -> int:
    """A descriptor that appends to a log file and does not block; PyfpmError where it may not be.

    It belongs to the caller.
    """
    _check_folder(os.path.dirname(path))
    # Non-blocking: a FIFO without a reader must be an error, not a start that hangs.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, _FILE_MODE)
    except OSError as error:
        reason = "it is a symbolic link" if os.path.islink(path) else reason_of(error)
        raise PyfpmError(f"open log {path}: {reason}") from error
    fault = find_file_fault(path, os.fstat(descriptor), by_workers=by_workers)
    if fault:
        os.close(descriptor)
        raise PyfpmError(f"open log {path}: {fault}")
    return descriptor


def _check_folder(folder: str) -> None:
    try:
        fault = find_folder_fault(folder)
    except OSError as error:
        raise PyfpmError(f"open log in {folder}: {reason_of(error)}") from error
    if fault:
        raise PyfpmError(f"open log in {folder}: {fault}")
