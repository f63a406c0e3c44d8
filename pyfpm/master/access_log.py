"""The access log of one generation: which file its workers write to, and that all of them know.

A rotation gives every worker a new descriptor over its control socket. That may be full, when its
worker has not read for long; it is told again each second until it could be, and writes to the
rotated file meanwhile.
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyfpm.errors import PyfpmError
from pyfpm.logs import AccessFile, Log
from pyfpm.master.handles import WorkerHandle
from pyfpm.messages import NewAccessLog

if TYPE_CHECKING:
    from pyfpm.master.pool import Pool

_COMPLAIN_EVERY_S = 60.0
_LONGEST_REASON = 200


class AccessLogError(PyfpmError):
    """The access log of a pool cannot be opened."""


class AccessLog:
    """Hands the open file to workers; AccessLogError where it cannot be opened."""

    def __init__(self, target: str, log: Log, saved: int | None = None) -> None:
        try:
            self._file = AccessFile(target, saved)
        except PyfpmError as error:
            raise AccessLogError(str(error)) from error
        self._log = log
        self._behind: set[int] = set()  # serials of workers that still write to a rotated file
        self._lost = 0
        self._next_complaint_s = 0.0

    @property
    def descriptor(self) -> int:
        """What new workers write to."""
        return self._file.descriptor

    @property
    def target(self) -> str:
        """A path, `stdout` or `stderr`."""
        return self._file.target

    def reopen(self, workers: Iterable[WorkerHandle]) -> bool:
        """Open the file anew and tell these workers; False where it is no file."""
        if not self._file.reopen():
            return False
        workers = list(workers)
        self._behind = {worker.serial for worker in workers}
        self.catch_up(workers)
        return True

    def catch_up(self, workers: Iterable[WorkerHandle]) -> None:
        """Tell those of these workers that could not be told yet."""
        if self._behind:
            self._behind &= {w.serial for w in workers if not self._tell(w)}

    def _tell(self, worker: WorkerHandle) -> bool:
        if worker.serial not in self._behind or worker.link is None:
            return True
        return worker.link.send(NewAccessLog(), [self.descriptor])

    def note_lost(self, lines: int, reason: str) -> None:
        """A worker could not write so many lines; one complaint a minute for all of them."""
        self._lost += lines
        if time.monotonic() >= self._next_complaint_s:
            self._next_complaint_s = time.monotonic() + _COMPLAIN_EVERY_S
            count = "a line was" if self._lost == 1 else f"{self._lost} lines were"
            text = f"access log {self.target}: {count} lost: {reason[:_LONGEST_REASON]}"
            self._log.error("access_log", text, lines=self._lost)
            self._lost = 0

    def close(self) -> None:
        """Close the master's copy."""
        self._file.close()


def reopen_access_logs(pools: Iterable["Pool"]) -> list[str]:
    """Open the access logs of all pools anew; the paths.

    One that cannot be opened keeps its old file, and PyfpmError says so after the others.
    """
    opened: list[str] = []
    problems: list[str] = []
    for pool in pools:
        workers = pool.workers.by_serial.values()
        for generation in pool.generations:
            log = generation.access_log
            try:
                if log is not None and log.reopen(w for w in workers if w.generation is generation):
                    opened.append(log.target)
            except PyfpmError as error:
                problems.append(str(error))
    if problems:
        raise PyfpmError("; ".join(dict.fromkeys(problems)))
    return list(dict.fromkeys(opened))
