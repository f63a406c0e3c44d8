"""The only place where pyfpm reaps.

As child subreaper the master inherits whatever zygotes and workers leave behind, so most deaths
are of known children and some of strangers. A worker may die before its zygote's report of the
pid arrives; deaths of unknown pids are therefore kept for a while, and `watch` answers with them.
"""

import logging
import os
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

_KEPT_MOST = 1024
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended: by `signum`, or with exit `code`; the other one is None."""

    code: int | None
    signum: int | None

    @property
    def text(self) -> str:
        """As PHP-FPM's log says it: `with code 1`, `on signal 9 (SIGKILL)`."""
        if self.signum is None:
            return f"with code {self.code}"
        try:
            name = signal.Signals(self.signum).name
        except ValueError:
            name = "unknown"
        return f"on signal {self.signum} ({name})"


Watcher = Callable[[Death], None]


class Reaper:
    """Collects deaths and tells whoever watches the pid."""

    def __init__(self) -> None:
        self._watchers: dict[int, Watcher] = {}
        self._strangers: OrderedDict[int, Death] = OrderedDict()

    def knows(self, pid: int) -> bool:
        """Whether somebody watches this pid already; a second claim to it is a lie."""
        return pid in self._watchers

    def early_death(self, pid: int) -> Death | None:
        """The death of `pid` if it was reaped before anybody watched it."""
        return self._strangers.pop(pid, None)

    def forget_early_death(self, pid: int) -> None:
        """A living process has this pid now: a kept death of it is somebody else's."""
        self._strangers.pop(pid, None)

    def save(self) -> dict[str, tuple[int | None, int | None]]:
        """The deaths that are kept, for the next master: code and signal by pid."""
        return {str(pid): (death.code, death.signum) for pid, death in self._strangers.items()}

    def resume(self, saved: Mapping[str, tuple[int | None, int | None]]) -> None:
        """Keep the deaths that the master before an exec knew of."""
        self._strangers.update((int(pid), Death(*how)) for pid, how in saved.items())

    def watch(self, pid: int, watcher: Watcher) -> None:
        """Call `watcher` once, when `pid` has been reaped."""
        self._watchers[pid] = watcher

    def reap(self) -> None:
        """Collect every child that has ended; called at SIGCHLD."""
        for pid, death in _collect():
            watcher = self._watchers.pop(pid, None)
            if watcher is None:
                self._strangers[pid] = death
                continue
            try:
                watcher(death)
            except Exception:  # a defect in one pool must not leave the deaths of others untold
                _LOGGER.exception("the death of process %d could not be dealt with", pid)
        while len(self._strangers) > _KEPT_MOST:
            self._strangers.popitem(last=False)


def _collect() -> Iterator[tuple[int, Death]]:
    """Reap until nobody is left."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return
        if found is None:
            return
        if found.si_code == os.CLD_EXITED:
            yield found.si_pid, Death(found.si_status, None)
        else:
            yield found.si_pid, Death(None, found.si_status)
