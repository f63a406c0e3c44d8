"""A child of the master's that does one thing and answers in words.

For what the master must not do itself: it may fail badly, or wait for longer than the one thread of
the master can. The child goes with the master, and is killed when nobody waits for it any more.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from pyfpm.kernel.forking import fork
from pyfpm.kernel.pidfd import open_child, send_signal
from pyfpm.kernel.prctl import set_parent_death_signal
from pyfpm.master.launch import EXIT_LAUNCH_FAILED, reset_signals
from pyfpm.master.reaper import Death, Reaper

_MOST_BYTES = 16 * 1024
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the child said, the end of it where it is long; `death` is None if it was killed."""

    text: str
    death: Death | None


async def run_errand(errand: Callable[[], None], reaper: Reaper, timeout_s: float) -> Outcome:
    """Run `errand` in a fork, whose standard output and error are heard; OSError without one.

    Signals are blocked in it until it unblocks them, and it has all descriptors of the master.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writer, True)
    master = os.getpid()
    try:
        pid = fork(lambda: _be_child(errand, master, writer))
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    output = _Output(reader)
    try:
        death = await _wait(pid, reaper, timeout_s)
    finally:
        text = output.close()
    return Outcome(text, death)


async def _wait(pid: int, reaper: Reaper, timeout_s: float) -> Death | None:
    """How the child ended; None if it had to be killed."""
    ended: asyncio.Future[Death] = asyncio.get_running_loop().create_future()
    # No death is missed: only the loop reaps, and it does not turn between the fork and here.
    pidfd = open_child(pid)
    reaper.watch(pid, lambda death: None if ended.done() else ended.set_result(death))
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(ended)
    except TimeoutError:
        return None
    finally:
        if pidfd is not None:
            if not ended.done():
                send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)


class _Output:
    """What the child prints; the end of it, where it is long."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._text = b""
        asyncio.get_running_loop().add_reader(reader, self._read)

    def close(self) -> str:
        """All of it, once the child has ended; a child of its own may hold the pipe for ever."""
        self._read()
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        return self._text.decode("utf-8", "backslashreplace")

    def _read(self) -> None:
        try:
            data = os.read(self._reader, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._reader)
        self._text = (self._text + data)[-_MOST_BYTES:]


def _be_child(errand: Callable[[], None], master: int, writer: int) -> NoReturn:
    try:
        reset_signals()
        os.setsid()  # Ctrl-C in the master's terminal is for the master
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != master:
            os._exit(EXIT_LAUNCH_FAILED)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for number, standard in ((null, 0), (writer, 1), (writer, 2)):
            os.dup2(number, standard)
        errand()
        os._exit(0)
    finally:
        os._exit(EXIT_LAUNCH_FAILED)
