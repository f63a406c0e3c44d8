"""One generation of a pool: a zygote, and everything that its workers were started with.

A pool has one current generation, from whose zygote new workers come. After a reload the workers
of the one before drain; it stays until the last of them has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pyfpm.config import PoolOptions
from pyfpm.logs import SlowLog
from pyfpm.master.access_log import AccessLog
from pyfpm.master.identity import Identity
from pyfpm.master.listeners import Listener
from pyfpm.master.private_folder import PrivateFolder
from pyfpm.master.processes import Processes
from pyfpm.master.shared import HandOffChannel
from pyfpm.master.zygotes import ZygoteKeeper
from pyfpm.policy import Limits


class Boots(Protocol):
    """Who hears how the boots of a generation end."""

    @property
    def is_ending(self) -> bool:
        """Nothing is started any more."""
        ...

    @property
    def retry_s(self) -> float:
        """Before this time (monotonic) nothing is started, because a boot has failed."""
        ...

    def boot_failed(self, text: str, started_s: float, *, was_ready: bool = False) -> None:
        """See Health.boot_failed."""
        ...

    def booted(self) -> None:
        """A worker, or a zygote that imported the application, is ready."""
        ...

    def serves(self) -> None:
        """A worker is ready."""
        ...


@dataclass(slots=True, eq=False)
class Generation:
    """`limits` are those of `options`, until somebody scales the pool.

    `allowed_uids` are the users of listen.allowed_users, as they were when it began. `folder` takes
    the temporary files of a sandboxed pool. `hands_over`: its draining workers may give their
    connections to those of the current one.
    """

    number: int
    options: PoolOptions
    identity: Identity
    listeners: Sequence[Listener]
    channel: HandOffChannel
    slow_log: SlowLog
    access_log: AccessLog | None
    processes: Processes
    limits: Limits
    boots: Boots
    allowed_uids: tuple[int, ...]
    folder: PrivateFolder | None = None
    hands_over: bool = True
    zygotes: ZygoteKeeper = field(init=False)

    def close_logs(self) -> None:
        """Its last process has ended, or none was started."""
        self.slow_log.close()
        if self.access_log is not None:
            self.access_log.close()

    def may_share_channel(self, other: "Generation") -> bool:
        """Whether workers of both may hand each other connections.

        Not where they are different users, or admit different clients: what the one has accepted
        the other might not have. Nor where it was shut down.
        """
        return (
            not other.channel.is_broken
            and self.identity.uid == other.identity.uid
            and self.identity.gid == other.identity.gid
            and self.options.listen_allowed_clients == other.options.listen_allowed_clients
            and self.allowed_uids == other.allowed_uids
        )
