"""The worker's side of the access log: each request's line, in one write.

The master opens the file and passes the descriptor; the worker writes. A file is in append mode,
and Linux holds its lock for the whole of a write (ext4, xfs, btrfs, tmpfs), so lines of several
workers never mix. A pipe keeps writes of up to PIPE_BUF bytes whole, so lines are shorter there,
and one that has no room is lost: whoever reads the log must not stop requests.

After a rotation the master sends a new descriptor, which takes the number of the old one. Until it
has arrived, lines go to the old file, under its new name.
"""

import contextlib
import fcntl
import os
import select
import stat
import time
from collections.abc import Callable, Mapping

from pyfpm.messages import BootDocument
from pyfpm.observe import (
    LONGEST_LINE_BYTES,
    Answer,
    Render,
    compile_access_format,
    path_of,
    wants_cpu,
)
from pyfpm.runtime.measures import Measures

_PIPE_BUF = select.PIPE_BUF
_HIGH_NUMBER = 240
_COMPLAIN_EVERY_NS = 60 * 1_000_000_000
_NO_ROOM = "whoever reads it is too slow"


class AccessLog:
    """Writes to `descriptor`; `lost` hears of lines that could not be, at most once a minute.

    Nothing that goes wrong with a line is raised: the request has been served.
    """

    def __init__(
        self, descriptor: int, document: BootDocument, lost: Callable[[int, str], None]
    ) -> None:
        has_peers = any(plan.is_tcp for plan in document.listeners)
        self._make = compile_access_format(
            document.access_format,
            pool=document.pool,
            pid=os.getpid(),
            master_pid=document.master_pid,
            has_peers=has_peers,
        )
        self._render = self._make(None)
        self._render_short: Render | None = None
        self._wants_cpu = wants_cpu(document.access_format)
        self._suppressed = frozenset(document.access_suppressed)
        self._measures = Measures()
        self._lost_to = lost
        self._lost = 0
        self._next_complaint_ns = 0
        self._torn = False  # the last write ended within a line
        self._descriptor = _out_of_the_way(descriptor)
        self._look_at_file()

    def begin(self) -> None:
        """A request begins to run."""
        if self._wants_cpu:
            self._measures.begin()

    def write(
        self, environ: Mapping[str, object], response: Answer, started_ns: int, ended_ns: int
    ) -> None:
        """The line of a request that has ended; times are monotonic."""
        try:
            if self._suppressed and self._is_suppressed(environ, response.status):
                return
            now_s, duration_ns = time.time(), ended_ns - started_ns
            line = self._render(environ, response, duration_ns, now_s, self._measures)
            data = line.encode()
            if len(data) > self._most_bytes:
                short = self._short_render()
                line = short(environ, response, duration_ns, now_s, self._measures)
                data = _cut(line.encode(), self._most_bytes)
            if self._torn:
                data = b"\n" + data
            if self._may_block and not self._has_room():
                self._note(_NO_ROOM)
                return
            written = os.write(self._descriptor, data)
            self._torn = written != len(data)
            if self._torn:
                self._note("the disk is full")
        except BlockingIOError:
            self._note(_NO_ROOM)
        except OSError as error:
            self._note(error.strerror or repr(error))
        except Exception as error:  # noqa: BLE001 - an environ of strange objects is no reason to end
            self._note(repr(error))

    def switch(self, descriptor: int) -> None:
        """Write to this file from now on; takes the descriptor over."""
        os.dup2(descriptor, self._descriptor, inheritable=False)
        os.close(descriptor)
        self._torn = False
        self._look_at_file()

    def close(self) -> None:
        """Let go of the file, in a child that the application forked."""
        os.close(self._descriptor)

    def _look_at_file(self) -> None:
        is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._most_bytes = LONGEST_LINE_BYTES if is_file else _PIPE_BUF
        # The master's own stdout may be a pipe of somebody else's, which it could not open anew.
        # Its blocking mode is for all who share it, so there a look comes before each write.
        self._may_block = not is_file and os.get_blocking(self._descriptor)
        self._render_short = None

    def _has_room(self) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        return bool(poller.poll(0))

    def _short_render(self) -> Render:
        if self._render_short is None:
            self._render_short = self._make(self._most_bytes)
        return self._render_short

    def _is_suppressed(self, environ: Mapping[str, object], status: int) -> bool:
        """PHP-FPM's rule: what a health check asks, and nothing else on that path."""
        get = environ.get
        return (
            200 <= status < 300
            and path_of(get) in self._suppressed
            and get("REQUEST_METHOD") in ("GET", "HEAD")
            and not get("QUERY_STRING")
            and get("CONTENT_LENGTH", "0") in ("0", "")
        )

    def _note(self, reason: str) -> None:
        self._lost += 1
        now_ns = time.monotonic_ns()
        if now_ns >= self._next_complaint_ns:
            self._next_complaint_ns = now_ns + _COMPLAIN_EVERY_NS
            with contextlib.suppress(MemoryError):  # which may be what is to be said
                self._lost_to(self._lost, reason)
                self._lost = 0


def _out_of_the_way(descriptor: int) -> int:
    """A copy with a high number, where there is room for one.

    An application that closes what it has not opened must not get the number for a file of its own
    soon after, and lines into that.
    """
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH_NUMBER)
    except OSError:  # rlimit_files
        return descriptor
    os.close(descriptor)
    return high


def _cut(data: bytes, most: int) -> bytes:
    """The last resort, for a format whose own words are that long."""
    return data if len(data) <= most else data[: most - 1] + b"\n"
