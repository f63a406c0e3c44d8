"""What wakes the engine besides connections: a drain that was asked for, and every signal.

Python runs a signal's handler between two instructions of Python code. One that arrives when the
last instruction before epoll_wait is done would find the worker asleep, and its handler would run
after the next connection; where the engine is compiled, that gap is all of the engine. So the
interpreter is told to write each signal's number into a pipe that the same epoll watches.
"""

import contextlib
import os
import signal

_READ_BYTES = 512


class Wake:
    """A pipe with both ends in this worker; register it, and call `heed` when it is readable."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """The end to watch."""
        return self._reader

    def hear_signals(self) -> None:
        """From now on every signal that has a handler makes the pipe readable."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def ring(self) -> None:
        """Make it readable; may be called by a signal handler."""
        with contextlib.suppress(BlockingIOError):  # full: it is readable
            os.write(self._writer, b"\0")

    def heed(self) -> None:
        """Empty the pipe, and return when the handlers of the signals in it have run."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, _READ_BYTES)
        _run_handlers()

    def close_in_child(self) -> None:
        """In a child that the application forked: its signals are none of ours."""
        try:
            writer = signal.set_wakeup_fd(-1)
            if writer not in (self._writer, -1):
                signal.set_wakeup_fd(writer)  # the application's own
        finally:
            os.close(self._reader)
            os.close(self._writer)


def _run_handlers() -> None:
    """Nothing, but in Python: on the way in the interpreter runs them. Not to be compiled."""
