"""What workers print, into the log.

One pipe per stream and process. Lines are kept apart per stream, so that a half line of one
worker is never glued to another's, and what a worker prints cannot look like a line of the master
(logs.formats cleans it). One bite is a bounded number of whole lines, which the log writes at once;
who may take one when is the affair of `Flow` and of the pool's share (master.turns).

To look, and to write, costs far more than a line does. So whoever prints again and again is given
a moment to print more before the next look.
"""

import asyncio
import fcntl
import itertools
import math
import os
from collections.abc import Callable

from pyfpm.logs import count_output_lines
from pyfpm.master.flow import READ_BYTES, Flow, cost_of, cost_of_line
from pyfpm.master.state import SavedPipe

_READ_BYTES = 65536
_BITE_BYTES = 16384
_LINES_AT_ONCE = 128
_LINES_OF_A_FLOOD = 64
_PAUSE_S = 0.01
_MOST_PIPE_BYTES = 1 << 20
"""More than this an unprivileged process cannot make of a pipe (/proc/sys/fs/pipe-max-size)."""
_LEAST_PIECE = 4096
_ROOM_FOR_WORDS = 64
_LAST_BYTES = 65536
_LAST_BYTES_OF_A_FLOOD = 8192

Emit = Callable[[str, str], None]
"""Takes the stream's name (`stdout`, `stderr`) and one or several lines, without the last break."""


class OutputPipe:
    """Reads one stream of one process until its end."""

    def __init__(
        self,
        stream: str,
        limit: int,
        emit: Emit,
        owner: tuple[int, int] | None,
        flow: Flow,
        saved: SavedPipe | None = None,
    ) -> None:
        """`limit` is the longest line in bytes; `owner` may reopen /dev/stdout by its path.

        `flow` is the output of the pool. `saved` is one that came through an exec: it has no
        writer here.
        """
        if saved is None:
            self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._reader, False)
            if owner is not None:
                os.fchown(self.writer, *owner)
        else:
            self._reader = saved.descriptor
        self.stream = stream
        self._limit = limit
        self._emit = emit
        self._rest = b"" if saved is None else saved.rest.encode("latin-1")
        self._open = True
        self._flow = flow
        # Where each write takes a page of its own, a pipe is full with little more than half.
        self._full_bytes = min(fcntl.fcntl(self._reader, fcntl.F_GETPIPE_SZ), _READ_BYTES) // 2
        self._was_full = False
        self._watched = False
        self._pause: asyncio.TimerHandle | None = None
        self._heard_s = -math.inf
        if self._has_piece:
            self._wait()
        else:
            self._watch()

    def close_writer(self) -> None:
        """The other process has its copy now."""
        os.close(self.writer)

    def save(self) -> SavedPipe | None:
        """For the next master; None at the end of the stream."""
        if not self._open:
            return None
        return SavedPipe(self.stream, self._reader, self._limit, self._rest.decode("latin-1"))

    # -- when -------------------------------------------------------------------------------

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().add_reader(self._reader, self._look)

    def _unwatch(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self._reader)

    def _wait(self) -> None:
        """Read no more until the turn comes; once the pipe is full its process waits as well."""
        self._unwatch()
        self._flow.share.wait(self)

    def _look(self) -> None:
        """Something is there, or perhaps after a pause."""
        self._pause = None
        if not self._flow.share.is_open:
            self._wait()
        elif self._take():
            self._look_again()
        elif self._open:
            self._watch()

    def _look_again(self) -> None:
        """After a turn, after a pause, or as soon as there is something."""
        loop = asyncio.get_running_loop()
        now_s, last_s = loop.time(), self._heard_s
        self._heard_s = now_s
        if self._has_piece:
            self._wait()
        elif now_s - last_s > 2 * _PAUSE_S or self._was_full:
            self._watch()
        else:
            self._unwatch()
            self._pause = loop.call_later(_PAUSE_S, self._look)

    def take_turn(self) -> None:
        """Take one bite; see master.turns."""
        if not self._open:
            self._say_last_words()
        elif self._take():
            self._wait()  # there may be more: to look again costs less than to be watched again
        elif self._open:
            self._watch()

    # -- what -------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Emit a bounded number of lines, or drop most; False if nothing was there."""
        if not self._has_piece and not self._fill():
            return False
        if self._was_full and self._flow.is_flooded:
            self._put_lines(_LINES_OF_A_FLOOD)
            self._drop()
        else:
            self._put_lines(_LINES_AT_ONCE)
        return True

    def _fill(self) -> bool:
        """Read once; False at the end, or where nothing is there now."""
        if not self._open:
            return False
        try:
            data = os.read(self._reader, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        self._flow.share.pay(READ_BYTES)
        self._was_full = len(data) >= self._full_bytes
        self._rest += data
        return True

    @property
    def _has_piece(self) -> bool:
        """Whether there is a line, or what is too long for one."""
        return len(self._rest) > self._limit or b"\n" in self._rest

    def _put_lines(self, most: int) -> None:
        """Emit so many lines at once, or what has to be cut out of one that is too long."""
        if self._has_piece:
            self._put(self._cut(most))

    def _cut(self, most: int) -> bytes:
        """Take so many lines, or what is too long for one, or the rest; without the last break."""
        if lines := self._find_lines(most):
            data = b"\n".join(lines)
            end = len(data) + 1
        else:
            size, end = self._find_piece()
            data = self._rest[:size]
        self._rest = self._rest[end:]
        return data

    def _find_lines(self, most: int) -> list[bytes]:
        """The first lines that have ended, as far as they are short enough."""
        end = self._rest.rfind(b"\n", 0, _BITE_BYTES)
        if end < 0:
            return []
        lines = self._rest[:end].split(b"\n", most)[:most]
        if max(map(len, lines)) > self._limit:
            return list(itertools.takewhile(lambda line: len(line) <= self._limit, lines))
        return lines

    def _find_piece(self) -> tuple[int, int]:
        """The length of the first piece, and where the next one begins."""
        end = self._rest.find(b"\n", 0, self._limit + 1)
        if end >= 0:
            return end, end + 1
        size = _whole_characters(self._rest[: self._limit + 1], self._limit)
        return size, size

    def _drop(self) -> None:
        """What was begun and has not ended stays: the line may be over before its rest comes."""
        whole, end, rest = self._rest.rpartition(b"\n")
        self._rest = rest[-self._limit :]
        size = len(whole) + len(end) + len(rest) - len(self._rest)
        if size:
            self._flow.drop(size, whole.count(b"\n") + len(end))

    def _put(self, lines: bytes) -> None:
        self._flow.spend(*self._write(lines))

    def _write(self, lines: bytes) -> tuple[int, int]:
        """Emit one or several lines; return how long they are, and how many the log makes of it."""
        text = lines.decode("utf-8", "backslashreplace")
        self._emit(self.stream, text)
        return len(text), count_output_lines(text)

    # -- the end ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Take what is there without waiting for more: the process has ended.

        Its children may keep the pipe open for long, so the end may never come.
        """
        left = _MOST_PIPE_BYTES
        while left > 0 and self._fill():
            left -= _READ_BYTES
            while self._has_piece and self._flow.share.is_open:
                self._put_lines(_LINES_AT_ONCE)
            self._keep_last_words()

    def close(self) -> None:
        """Close, and emit what is left: in its turn, where there is no budget for it now."""
        if not self._open:
            return
        self._open = False
        self._unwatch()
        self._flow.share.forget(self)
        os.close(self._reader)
        if not self._rest:
            return
        if not self._flow.keep(self):
            self._drop_until(len(self._rest))
            return
        self._keep_last_words()
        if self._flow.share.is_open:
            self._say_last_words()
        else:
            self._flow.share.wait(self)

    def _keep_last_words(self) -> None:
        """Drop what is too much, from the beginning; the first line that stays is a whole one."""
        most = _LAST_BYTES if self._flow.is_open else _LAST_BYTES_OF_A_FLOOD
        self._keep_end(most)

    def _keep_end(self, most: int) -> None:
        over = len(self._rest) - most
        if over > 0:
            self._drop_until(self._rest.find(b"\n", over) + 1 or over)

    def _drop_until(self, end: int) -> None:
        dropped, self._rest = self._rest[:end], self._rest[end:]
        if dropped:
            is_half = not (self._rest or dropped.endswith(b"\n"))
            self._flow.drop(len(dropped), dropped.count(b"\n") + is_half)

    def _say_last_words(self) -> None:
        self._put_lines(_LINES_AT_ONCE)
        if self._has_piece:
            self._flow.share.wait(self)
            return
        self._flow.forget(self)
        if self._rest:
            self._put(self._rest)
            self._rest = b""

    def end_now(self, most_bytes: int) -> int:
        """Write the end of the last words, whatever is left of the budget; see `LastWords`."""
        self._flow.share.forget(self)
        self._flow.forget(self)
        self._keep_end(most_bytes // 2)
        self._drop_until(_start_of_last_lines(self._rest, most_bytes // 2 // cost_of_line()))
        cost = 0
        while self._rest:
            cost += cost_of(*self._write(self._cut(_LINES_AT_ONCE)))
        return cost


def _start_of_last_lines(data: bytes, most: int) -> int:
    """Where the last so many lines begin."""
    start = len(data)
    for _ in range(most):
        start = data.rfind(b"\n", 0, max(0, start - 1)) + 1
    return start


def _whole_characters(data: bytes, most: int) -> int:
    """How many bytes to take so that at most `most` are, and no character of UTF-8 is cut."""
    size = min(len(data), most)
    for back in range(min(4, size)):
        if size == len(data) or data[size - back] & 0xC0 != 0x80:
            return size - back
    return size  # no UTF-8


def decorate(lines: str, who: str) -> str:
    """Each of the lines with the words who said it."""
    return "\n".join(f'{who}: "{line}"' for line in lines.split("\n"))


def longest_piece(log_limit: int) -> int:
    """How much of a line without an end is handed on at once, in bytes.

    The log continues what does not fit into one line of it on the next. A pool's name and what
    `decorate_workers_output` adds shall fit into a message as well.
    """
    return min(max(log_limit, _LEAST_PIECE), _READ_BYTES) - _ROOM_FOR_WORDS
