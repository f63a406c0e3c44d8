"""The pid file: whole or not there, and removed by the master that wrote it."""

import contextlib
import os

from pyfpm.errors import PyfpmError, reason_of
from pyfpm.kernel.folders import make_folder
from pyfpm.kernel.process import real_uid
from pyfpm.kernel.title import title_of

MASTER_TITLE = "pyfpm: master"


class PidFile:
    """A file with the master's pid; does nothing where `path` is None."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._written: int | None = None

    def refuse_second(self) -> None:
        """PyfpmError where the file names a master that lives: this one would take its place.

        A file left behind by a killed master names nobody, or somebody else by now, or (in a
        container, where everything has the same pids each time) this very process.
        """
        pid = self._read()
        if pid is None or pid == os.getpid() or not title_of(pid).startswith(MASTER_TITLE):
            return
        if real_uid(pid) in (0, os.geteuid()):  # any user can give a process this title
            raise PyfpmError(
                f"pid file {self.path}: a master runs with pid {pid}: end it with `pyfpm stop`,"
                " or give this one another pid in [pyfpm]"
            )

    def write(self, pid: int) -> None:
        """Replace the file in one step; PyfpmError where that is not possible.

        The last folder of its path is made where it is missing, as for a socket.
        """
        if self.path is None:
            return
        fresh = f"{self.path}.{pid}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            make_folder(os.path.dirname(self.path), 0o755)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            with os.fdopen(os.open(fresh, flags, 0o644), "w", encoding="ascii") as file:
                file.write(f"{pid}\n")
            os.rename(fresh, self.path)
        except OSError as error:
            raise PyfpmError(f"write pid file {self.path}: {reason_of(error)}") from error
        self._written = pid

    def inherit(self, pid: int) -> None:
        """The file was written by the master before an exec, whose pid this one has."""
        self._written = pid

    def remove(self) -> None:
        """Remove the file that this master wrote, unless it is another master's by now."""
        if self.path is None or self._written is None:
            return
        if self._read() == self._written:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def _read(self) -> int | None:
        """The pid in the file; None where there is none."""
        if self.path is None:
            return None
        try:
            with open(self.path, encoding="ascii", errors="replace") as file:
                text = file.read(32).strip()
        except OSError:
            return None
        return int(text) if text.isdecimal() else None
