"""The pid file: whole or not there, and removed by the master that wrote it."""

import contextlib
import os

from pyfpm.errors import PyfpmError


class PidFile:
    """A file with the master's pid; does nothing where `path` is None."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._written: int | None = None

    def write(self, pid: int) -> None:
        """Replace the file in one step; PyfpmError where that is not possible."""
        if self._path is None:
            return
        fresh = f"{self._path}.{pid}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            with os.fdopen(os.open(fresh, flags, 0o644), "w", encoding="ascii") as file:
                file.write(f"{pid}\n")
            os.rename(fresh, self._path)
        except OSError as error:
            raise PyfpmError(f"write pid file {self._path}: {error.strerror}") from error
        self._written = pid

    def remove(self) -> None:
        """Remove the file that this master wrote, unless it is another master's by now."""
        if self._path is None or self._written is None:
            return
        with contextlib.suppress(OSError):
            with open(self._path, encoding="ascii", errors="replace") as file:
                is_ours = file.read().strip() == str(self._written)
            if is_ours:
                os.unlink(self._path)
