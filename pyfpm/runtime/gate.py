"""Who may connect to a listener: asked once for each connection, before a byte of it is read.

A gate takes the descriptor and the address that accept(2) gave, and returns what is wrong with
this client, or nothing. A listener without a list has no gate, and costs nothing.

It stands at the only place where connections are accepted. Whatever else comes to a worker has
passed it before: what comes through the hand-off channel was accepted by a worker of a generation
with the same lists (others have a channel of their own), and the master, which keeps connections
for a pool without workers, takes them from that channel and accepts none itself.
"""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pyfpm.kernel.peer_credentials import read_peer
from pyfpm.messages import ListenerPlan

Gate = Callable[[int, tuple[object, ...] | str | bytes], str]
"""Descriptor and peer address in; out why this client is refused, or nothing."""
Network = IPv4Network | IPv6Network


def make_gate(plan: ListenerPlan) -> Gate | None:
    """What `plan` asks for; None where everybody may connect who can."""
    if plan.allowed:
        return _gate_of_clients(tuple(ip_network(text) for text in plan.allowed))
    if plan.allowed_users:
        return _gate_of_users(frozenset(plan.allowed_users))
    return None


def is_among(host: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address, as accept(2) gives it, is in one of the networks.

    IPv4 clients of an IPv6 socket come as ::ffff:10.1.2.3 and are meant by IPv4 networks; a scope
    (fe80::1%eth0) says where an address is valid and plays no part.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def _gate_of_clients(networks: tuple[Network, ...]) -> Gate:
    def refusal(fd: int, peer: tuple[object, ...] | str | bytes) -> str:
        del fd
        host = str(peer[0])
        if is_among(host, networks):
            return ""
        return f"client {host} is not among listen.allowed_clients"

    return refusal


def _gate_of_users(users: frozenset[int]) -> Gate:
    def refusal(fd: int, peer: tuple[object, ...] | str | bytes) -> str:
        del peer
        try:
            uid, pid = read_peer(fd)
        except OSError as error:
            return f"a client of whom the kernel does not say who it is ({error.strerror})"
        if uid in users:
            return ""
        return f"user {uid} (pid {pid}) is not among listen.allowed_users"

    return refusal
