"""Options of a pool that mean nothing because of what its other options are.

Who sets one in the pool itself believes that it does something, and gets a notice (`rules`). What
is a default or stands in [pool-defaults] is there for all pools: nobody needs to be told, and the
dump has it as a comment, or each would give a notice when the dump is loaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pyfpm.config.addresses import SystemdAddress, TcpAddress, UnixAddress
from pyfpm.config.options import PoolOptions
from pyfpm.config.values import Sandbox
from pyfpm.policy import ProcessManager

SPARE = ("pm.min_spare_servers", "pm.max_spare_servers", "pm.start_servers")
SANDBOX_LISTS = ("sandbox.read", "sandbox.write", "sandbox.execute")
_ACCESS_LOG = ("access.format", "access.suppress_path[]")
_SET_BY_SYSTEMD = {
    "listen.backlog": "Backlog=",
    "listen.owner": "SocketUser=",
    "listen.group": "SocketGroup=",
    "listen.mode": "SocketMode=",
}


@dataclass(frozen=True, slots=True)
class Ineffective:
    """One option without effect, why, and what to set in its place if there is something."""

    option: str
    why: str
    remedy: str = ""

    @property
    def fact(self) -> str:
        """That it has no effect, and why."""
        return f"has no effect {self.why}"

    def __str__(self) -> str:
        return f"{self.fact}; {self.remedy}" if self.remedy else self.fact


def find_ineffective(pool: PoolOptions) -> Iterator[Ineffective]:
    """Every option of the pool that has no effect, wherever its value comes from."""
    yield from _of_listen(pool)
    if pool.access_log is None:
        for option in _ACCESS_LOG:
            yield Ineffective(option, "without access.log")
    if pool.rlimit_core and not pool.process_dumpable:
        yield Ineffective("rlimit_core", "without process.dumpable = yes")
    if pool.sandbox is Sandbox.OFF:
        for option in SANDBOX_LISTS:
            yield Ineffective(option, "with sandbox = off")
    if pool.pm is not ProcessManager.DYNAMIC:
        for option in SPARE:
            yield Ineffective(option, f"with pm = {pool.pm.value}")
    if pool.pm is not ProcessManager.ONDEMAND:
        yield Ineffective("pm.process_idle_timeout", f"with pm = {pool.pm.value}")


def _of_listen(pool: PoolOptions) -> Iterator[Ineffective]:
    addresses = pool.listen or ()  # none where it was refused
    may_be_tcp = any(not isinstance(address, UnixAddress) for address in addresses)
    if pool.listen_allowed_clients and not may_be_tcp:
        yield Ineffective(
            "listen.allowed_clients",
            "without a TCP address in listen",
            "for a Unix socket set listen.group and listen.mode, or listen.allowed_users",
        )
    # Users are known of Unix sockets only.
    if addresses and all(isinstance(address, TcpAddress) for address in addresses):
        if pool.listen_allowed_users:
            yield Ineffective(
                "listen.allowed_users",
                "without a Unix socket in listen: a TCP connection does not say whose it is",
                "listen on /path, or set listen.allowed_clients",
            )
    elif addresses and all(isinstance(address, SystemdAddress) for address in addresses):
        for option, setting in _SET_BY_SYSTEMD.items():
            yield Ineffective(option, "on a socket of systemd", f"set {setting} in its unit")
