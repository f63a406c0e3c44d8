"""The options of a pool that say where it listens and who may connect."""

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.addresses import IpNetwork, ListenAddress
from pyfpm.config.options import kinds
from pyfpm.config.options.option import Reload, option


@dataclass(frozen=True, kw_only=True)
class ListeningOptions:
    """Where a pool listens, and who may connect."""

    __slots__ = ()
    TITLE: ClassVar[str] = "Listening"

    listen: tuple[ListenAddress, ...] = option(
        "listen",
        kinds.ADDRESSES,
        "One or several addresses, separated by blanks or commas: `/path`, `unix:/path`,"
        " `host:port`, `[::1]:port`, a `port` on every address of the machine, or `systemd:NAME`"
        " for the sockets that systemd passes under that name.",
        required=True,
        reload=Reload.LISTENER,
    )
    listen_backlog: int = option(
        "listen.backlog",
        kinds.BACKLOG,
        "How many connections may wait to be accepted; -1 is the most that the kernel allows.",
        default="-1",
        reload=Reload.LISTENER,
    )
    listen_owner: str | None = option(
        "listen.owner",
        kinds.TEXT,
        "User (name or id) that owns the Unix socket; the pool's user unless set. Only root can"
        " give a socket to another user.",
        reload=Reload.LISTENER,
    )
    listen_group: str | None = option(
        "listen.group",
        kinds.TEXT,
        "Group (name or id) of the Unix socket; the pool's group unless set. The usual way to let"
        " the web server in. A master that is not root can give it to its own groups only.",
        reload=Reload.LISTENER,
    )
    listen_mode: int = option(
        "listen.mode",
        kinds.MODE,
        "Mode of the Unix socket: who may write it may connect.",
        default="0660",
        reload=Reload.LISTENER,
    )
    listen_allowed_clients: tuple[IpNetwork, ...] = option(
        "listen.allowed_clients",
        kinds.NETWORKS,
        "Addresses and networks that may connect over TCP, such as `10.0.0.0/8, fd00::/8`;"
        " everybody when empty, which is refused for a listener that other machines can reach."
        " IPv4 clients of an IPv6 socket count as IPv4.",
        default="",
        reload=Reload.LISTENER,
    )
    listen_allowed_users: tuple[str, ...] = option(
        "listen.allowed_users",
        kinds.WORDS,
        "Users (names or ids) that may connect to the Unix sockets, besides what their mode says;"
        " everybody when empty. The kernel says who connected: the effective user of that process"
        " at that moment. root is let in only if it is named.",
        default="",
        reload=Reload.LISTENER,
    )
