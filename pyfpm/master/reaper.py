"""The only place where pyfpm reaps.

As child subreaper the master inherits whatever zygotes and workers leave behind, so most deaths
are of known children and some of strangers. A worker may die before its zygote's report of the
pid arrives; deaths of unknown pids are therefore kept for a while, and `watch` answers with them.
"""

import os
import signal
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_KEPT_MOST = 1024


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

    def watch(self, pid: int, watcher: Watcher) -> None:
        """Call `watcher` once, when `pid` has been reaped."""
        self._watchers[pid] = watcher

    def reap(self) -> None:
        """Collect every child that has ended; called at SIGCHLD."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return
            if found is None:
                return
            exited = found.si_code == os.CLD_EXITED
            death = Death(found.si_status if exited else None, None if exited else found.si_status)
            watcher = self._watchers.pop(found.si_pid, None)
            if watcher is not None:
                watcher(death)
                continue
            self._strangers[found.si_pid] = death
            while len(self._strangers) > _KEPT_MOST:
                self._strangers.popitem(last=False)
