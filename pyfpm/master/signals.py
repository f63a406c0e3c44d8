"""The master's signals: blocked until their handlers are there, and then handled by the loop."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping

from pyfpm.logs import Log

# What the kernel sends for a defect of this process, what cannot be caught, what stops and goes on
# at a terminal, and what does nothing anyway.
_LEFT_ALONE = frozenset(
    {
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT),
        *(signal.SIGTRAP, signal.SIGSYS, signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP),
        *(signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG),
        *(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores both
    }
)


class SignalHandlers:
    """Calls handlers from the loop, not from within whatever the signal interrupts.

    Signals that mean nothing to the master would end it, and the service with it. They are logged.
    """

    def __init__(self) -> None:
        self._handled: tuple[int, ...] = ()

    def install(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
        """Handle these from now on, and let the signals in that have waited."""
        loop = asyncio.get_running_loop()
        for signum, handler in handlers.items():
            loop.add_signal_handler(signum, handler)
        strange = set(signal.valid_signals()) - _LEFT_ALONE - set(handlers)
        for number in strange:
            loop.add_signal_handler(number, _mention, number)
        self._handled = (*handlers, *strange)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals_that_wait())

    def remove(self) -> None:
        """Handle them no more."""
        for signum in self._handled:
            asyncio.get_running_loop().remove_signal_handler(signum)


def _mention(number: int) -> None:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    Log().notice("signal_ignored", f"{name} means nothing to the master: ignored")


def signals_that_wait() -> set[signal.Signals]:
    """What must not get lost, or end the master, before it has its handlers.

    The kernel drops for PID 1, the first process of a container, every signal that has neither
    handler nor block: a container told to stop while it starts would wait to be killed. Elsewhere
    those that end the start by default may do so: the name of a host may take long to resolve.
    """
    waiting = {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
    if os.getpid() == 1:
        waiting |= {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
    return waiting
