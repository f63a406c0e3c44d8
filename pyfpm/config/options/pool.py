"""The options of one pool, put together from their groups."""

from dataclasses import dataclass

from pyfpm.config.options.application import ApplicationOptions
from pyfpm.config.options.identity import IdentityOptions
from pyfpm.config.options.listening import ListeningOptions
from pyfpm.config.options.logs import LogOptions
from pyfpm.config.options.manager import ManagerOptions
from pyfpm.config.options.requests import RequestOptions
from pyfpm.policy import ProcessManager

POOL_GROUPS = (
    ApplicationOptions,
    IdentityOptions,
    ListeningOptions,
    ManagerOptions,
    RequestOptions,
    LogOptions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions(
    ApplicationOptions,
    IdentityOptions,
    ListeningOptions,
    ManagerOptions,
    RequestOptions,
    LogOptions,
):
    """Every option of one `[pool:NAME]`, defaults filled in, paths absolute.

    Times are seconds, sizes bytes. `python` is the interpreter itself even where the file names a
    venv; `environment` holds the pairs of `environment` and of `env[NAME]` together.
    """

    name: str

    @property
    def workers_at_start(self) -> int:
        """How many workers the pool starts with, were it started now."""
        return {
            ProcessManager.STATIC: self.pm_max_children,
            ProcessManager.DYNAMIC: self.pm_start_servers,
            ProcessManager.ONDEMAND: 0,
        }[self.pm]
