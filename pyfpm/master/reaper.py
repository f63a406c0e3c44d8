"""The only place where pyfpm reaps.

As child subreaper the master inherits whatever zygotes and workers leave behind, so most deaths
are of known children and some of strangers. A worker may die before its zygote's report of the
pid arrives; deaths of unknown pids are therefore kept for a while, for `early_death`.

Applications decide how many strangers die, and how fast. So one turn reaps a bounded number, and
who asks for a kept death gets those of his own user only: otherwise one pool could use up the
deaths that another waits for, or push them out.
"""

import logging
import os
import signal
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

_KEPT_MOST = 1024
_REAPED_AT_ONCE = 256
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended: by `signum`, or with exit `code`; the other one is None.

    `uid` is its real user, None where that is not known.
    """

    code: int | None
    signum: int | None
    uid: int | None = field(default=None, compare=False)

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
        self._kept_of: Counter[int | None] = Counter()  # deaths by user

    def knows(self, pid: int) -> bool:
        """Whether somebody watches this pid already; a second claim to it is a lie."""
        return pid in self._watchers

    def early_death(self, pid: int, uid: int | None = None) -> Death | None:
        """The death of `pid`, a process of `uid`, if it was reaped before anybody watched it.

        None for `uid` means any user.
        """
        death = self._strangers.get(pid)
        if death is None or (None not in (uid, death.uid) and uid != death.uid):
            return None
        return self._let_go(pid)

    def forget_early_death(self, pid: int) -> None:
        """A living process has this pid now: a kept death of it is somebody else's."""
        self._let_go(pid)

    def save(self) -> dict[str, tuple[int | None, ...]]:
        """The deaths that are kept, for the next master: code, signal and user by pid."""
        return {str(pid): (d.code, d.signum, d.uid) for pid, d in self._strangers.items()}

    def resume(self, saved: Mapping[str, Sequence[int | None]]) -> None:
        """Keep the deaths that the master before an exec knew of."""
        for pid, how in saved.items():
            self._keep(int(pid), Death(*how))

    def watch(self, pid: int, watcher: Watcher) -> None:
        """Call `watcher` once, when `pid` has been reaped."""
        self._watchers[pid] = watcher

    def reap(self) -> bool:
        """Collect children that have ended, called at SIGCHLD; True if there may be more of them.

        Not all of them at once: an application may leave dying processes behind as fast as they
        are reaped, and nothing else would ever be done.
        """
        count = 0
        for pid, death in islice(_collect(), _REAPED_AT_ONCE):
            count += 1
            watcher = self._watchers.pop(pid, None)
            if watcher is None:
                self._keep(pid, death)
                continue
            try:
                watcher(death)
            except Exception:  # a defect in one pool must not leave the deaths of others untold
                _LOGGER.exception("the death of process %d could not be dealt with", pid)
        return count == _REAPED_AT_ONCE

    def _keep(self, pid: int, death: Death) -> None:
        """Remember a stranger's death; the oldest of the user with most makes room."""
        self._let_go(pid)
        self._strangers[pid] = death
        self._kept_of[death.uid] += 1
        if len(self._strangers) > _KEPT_MOST:
            uid, _ = self._kept_of.most_common(1)[0]
            self._let_go(next(pid for pid, kept in self._strangers.items() if kept.uid == uid))

    def _let_go(self, pid: int) -> Death | None:
        death = self._strangers.pop(pid, None)
        if death is not None:
            self._kept_of[death.uid] -= 1
            if not self._kept_of[death.uid]:
                del self._kept_of[death.uid]
        return death


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
            yield found.si_pid, Death(found.si_status, None, found.si_uid)
        else:
            yield found.si_pid, Death(None, found.si_status, found.si_uid)
