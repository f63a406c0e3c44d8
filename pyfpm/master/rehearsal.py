"""The rehearsal of an upgrade: the new code as a child of the running master.

The child gets a copy of every descriptor and does with them all that the new master will do before
it is set going: it reads the state, the configuration, and puts the pools together. What fails
there fails before anything has happened. It never reads from a descriptor, and its copies go with
it; it goes with the master.
"""

import asyncio
import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NoReturn

from pyfpm.errors import ControlError
from pyfpm.kernel.pidfd import open_child, send_signal
from pyfpm.kernel.prctl import set_parent_death_signal
from pyfpm.master.launch import EXIT_LAUNCH_FAILED, fork, reset_signals
from pyfpm.master.reaper import Death, Reaper

REHEARSAL_S = 10.0
_MOST_BYTES = 16 * 1024
_READ_BYTES = 65536

REHEARSED = "rehearsed\n"
"""The last word of a rehearsal in which everything was tried."""


async def rehearse(
    command: list[str],
    environment: Mapping[str, str],
    descriptors: Iterable[int],
    reaper: Reaper,
    timeout_s: float = REHEARSAL_S,
) -> None:
    """Run the command with copies of the descriptors; ControlError with its words if it fails."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writer, True)
    passed = set(descriptors)
    try:
        pid = fork(lambda: _be_child(command, environment, passed, writer))
    except OSError as error:
        os.close(reader)
        raise ControlError(f"fork for the new code: {error.strerror}") from error
    finally:
        os.close(writer)
    output = _Output(reader)
    try:
        death = await _wait(pid, reaper, timeout_s)
    finally:
        text = output.close()
    if death is None:
        raise _refused(f"it did not end within {timeout_s:g} s\n{text}")
    if not text.endswith(REHEARSED):
        # Not the exit code: code that ends the process early may well end it with 0.
        raise _refused(text or f"it exited {death.text} before it had tried everything")


def _refused(text: str) -> ControlError:
    return ControlError(f"the new code does not start, nothing has changed:\n{text.strip()}")


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


def _be_child(
    command: list[str], environment: Mapping[str, str], descriptors: set[int], writer: int
) -> NoReturn:
    try:
        master = os.getppid()
        reset_signals()
        os.setsid()  # Ctrl-C in the master's terminal is for the master
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != master:
            os._exit(EXIT_LAUNCH_FAILED)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for number, standard in ((null, 0), (writer, 1), (writer, 2)):
            os.dup2(number, standard)
        for number in descriptors:
            os.set_inheritable(number, True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(command[0], command, environment)  # noqa: S606 - no shell is the point
    except OSError as error:
        with suppress(OSError):
            os.write(writer, f"execute {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(EXIT_LAUNCH_FAILED)
