"""Reading what a process writes, line by line, while it runs."""

import os
import re
import threading
import time
from typing import IO


class LogReader:
    """Collects the lines of a pipe; `wait_for` blocks until one matches.

    A thread reads, so that the process never waits for a full pipe; waiting is on a condition,
    not on a clock.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def show(self, title: str) -> None:
        """Print the log for pytest, which shows it when a test fails; benchmarks stay quiet."""
        if "PYTEST_CURRENT_TEST" in os.environ:
            print(f"--- {title} ---\n{self.text()}")

    def mark(self) -> int:
        """Return the place where the log ends now, for `wait_for(…, since=mark)`."""
        with self._changed:
            return len(self._lines)

    def lines(self, since: int = 0) -> list[str]:
        with self._changed:
            return self._lines[since:]

    def text(self, since: int = 0) -> str:
        return "\n".join(self.lines(since))

    def find(self, pattern: str, since: int = 0) -> list[str]:
        """Return the lines in which the regular expression is found."""
        return [line for line in self.lines(since) if re.search(pattern, line)]

    def wait_for(self, pattern: str, timeout_s: float = 15, since: int = 0) -> re.Match[str]:
        """Block until a line matches; AssertionError with the log after the deadline."""
        deadline = time.monotonic() + timeout_s
        position = since
        with self._changed:
            while True:
                for line in self._lines[position:]:
                    if match := re.search(pattern, line):
                        return match
                position = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    reason = "the log ended" if self._ended else f"not within {timeout_s} s"
                    log = "\n".join(self._lines)
                    raise AssertionError(f"waiting for {pattern!r}: {reason}:\n{log}")
                self._changed.wait(left)

    def wait_for_end(self, timeout_s: float = 5) -> None:
        """Block until every process that holds the pipe is gone."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), f"somebody still holds the log:\n{self.text()}"
