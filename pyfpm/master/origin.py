"""What the master found when it was started, and has to know for as long as it runs."""

import os
import resource
from dataclasses import dataclass
from typing import Self

from pyfpm.master.activation import PassedSockets
from pyfpm.master.background import Terminal
from pyfpm.master.notifier import Notifier


@dataclass(frozen=True, slots=True)
class Origin:
    """The service manager, the sockets that it passed, and the terminal of `start -D`.

    `soft_file_limit` is RLIMIT_NOFILE as it was, for the processes of the pools.
    """

    notifier: Notifier
    passed: PassedSockets
    soft_file_limit: int
    terminal: Terminal | None = None

    @classmethod
    def of_this_process(cls) -> Self:
        """As the environment says, in which what is meant for the master alone is removed."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            Notifier.from_environment(os.environ), PassedSockets.from_environment(os.environ), soft
        )

    def environment(self) -> dict[str, str]:
        """What this same process is to find in its environment after an exec of itself."""
        return {**os.environ, **self.notifier.environment(), **self.passed.environment()}
