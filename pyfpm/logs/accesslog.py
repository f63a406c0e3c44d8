"""The access log as the master holds it: it opens the file, and workers write to it.

The rules for the file are those of the error log. Workers get the descriptor, so whoever takes an
application over can empty the log that it writes now; what was rotated away before is out of reach.
"""

import contextlib
import fcntl
import os
import stat

from pyfpm.errors import PyfpmError
from pyfpm.logs.errorlog import open_file

_STANDARD = {"stdout": 1, "stderr": 2}


class AccessFile:
    """An open access log; `target` is a path, `stdout` or `stderr`.

    `saved` is the descriptor, where it came through an exec. PyfpmError where it cannot be opened.
    """

    def __init__(self, target: str, saved: int | None = None) -> None:
        self.target = target
        self.descriptor = _open(target) if saved is None else saved

    def reopen(self) -> bool:
        """Open it anew under its name; False where it has none, and stays as it is.

        PyfpmError where that fails; the old file stays in use then.
        """
        if self.target in _STANDARD:
            return False
        fresh = _open(self.target)
        os.close(self.descriptor)
        self.descriptor = fresh
        return True

    def close(self) -> None:
        """Close the master's copy; workers keep theirs."""
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def _open(target: str) -> int:
    """Non-blocking: no matter to a file, and a FIFO or pipe that is full must not stop workers."""
    if target not in _STANDARD:
        return open_file(target, by_workers=True)
    number = _STANDARD[target]
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        if stat.S_ISREG(os.fstat(number).st_mode):
            _append(number)
        # Anew, because the blocking mode of our own is for all who share it, the terminal included.
        return os.open(f"/proc/self/fd/{number}", flags)
    except OSError:  # a socket, as journald's, or a pipe of another user's
        pass
    try:
        return os.dup(number)
    except OSError as error:
        raise PyfpmError(f"open access log {target}: {error.strerror}") from error


def _append(descriptor: int) -> None:
    """Let all who share it append: after `>file 2>&1` the error log would write over our lines."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)
