"""The rehearsal of an upgrade: the new code as a child of the running master.

The child gets a copy of every descriptor and does with them all that the new master will do before
it is set going: it reads the state, the configuration, and puts the pools together. What fails
there fails before anything has happened. It never reads from a descriptor, and its copies go with
it; it goes with the master.
"""

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress

from pyfpm.errors import ControlError
from pyfpm.master.errand import run_errand
from pyfpm.master.reaper import Reaper

REHEARSAL_S = 10.0

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
    passed = set(descriptors)
    try:
        done = await run_errand(lambda: _execute(command, environment, passed), reaper, timeout_s)
    except OSError as error:
        raise ControlError(f"fork for the new code: {error.strerror}") from error
    if done.death is None:
        raise _refused(f"it did not end within {timeout_s:g} s\n{done.text}")
    if not done.text.endswith(REHEARSED):
        # Not the exit code: code that ends the process early may well end it with 0.
        raise _refused(done.text or f"it exited {done.death.text} before it had tried everything")


def _refused(text: str) -> ControlError:
    return ControlError(f"the new code does not start, nothing has changed:\n{text.strip()}")


def _execute(command: list[str], environment: Mapping[str, str], descriptors: set[int]) -> None:
    try:
        for number in descriptors:
            os.set_inheritable(number, True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(command[0], command, environment)  # noqa: S606 - no shell is the point
    except OSError as error:
        with suppress(OSError):
            os.write(2, f"execute {command[0]}: {error.strerror}\n".encode())
