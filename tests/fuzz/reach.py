"""Which lines of pyfpm, and of the rules that it is compared with, an input reaches.

Where the compiled form runs only the rules can be watched: their lines stand for what a stream is
made of, and lead the search there too.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from harness.machine import REPOSITORY

_WATCHED = (str(REPOSITORY / "pyfpm"), str(Path(__file__).parent))


class Reach:
    """Counts steps from line to line that no input before has made."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int, int]] = set()
        self._new = 0
        self._is_watched: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def watch(self, run: Callable[[bytes], None], data: bytes) -> int:
        """Run, and return how many steps were new; a finding passes through."""
        self._new = 0
        sys.settrace(self._enter)
        try:
            run(data)
        finally:
            sys.settrace(None)
        return self._new

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        file = frame.f_code.co_filename
        watched = self._is_watched.get(file)
        if watched is None:
            watched = self._is_watched[file] = file.startswith(_WATCHED)
        if not watched:
            return None
        seen = self._seen
        code = id(frame.f_code)  # the hash of a code object is one of all that is in it
        last = 0

        def step(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            key = (code, last, frame.f_lineno)
            last = frame.f_lineno
            if key not in seen:
                seen.add(key)
                self._new += 1
            return step

        return step
