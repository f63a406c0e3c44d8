"""The addresses that a pool listens on, as values and as text.

`parse_address` and `format_address` are inverse. Nothing here asks the network: a host name is
taken as it is.
"""

import ipaddress
import re
from dataclasses import dataclass

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED_BITS = 96  # of ::ffff:0:0/96, where IPv4 lies in IPv6 (RFC 4291, 2.5.5.2)
_WRITE = "write /path, unix:/path, host:port, [::1]:port or a port"
_LONGEST_LABEL = 63  # RFC 1035, 2.3.4
_PORT = re.compile(r"[0-9]{1,5}")
# What systemd allows (sd_listen_fds(3)), without the characters that separate addresses here.
_SYSTEMD_NAME = re.compile(r"[!-+\--9;-~]{1,255}")


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A socket in the file system; `path` is absolute once the configuration is loaded."""

    path: str


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port; an empty `host` means every address of the machine, IPv6 and IPv4."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only processes of this machine reach it, as far as the text says."""
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class SystemdAddress:
    """The sockets that systemd passes under this name (FileDescriptorName= of a socket unit).

    Where they listen is known at run time only, and only to the process that they are passed to.
    """

    name: str


Address = UnixAddress | TcpAddress
"""Where one can connect to."""
ListenAddress = Address | SystemdAddress
"""Where a pool can listen."""


def parse_address(text: str) -> ListenAddress:
    """One address: `/path`, `unix:/path`, `host:port`, `[::1]:port`, `port` or `systemd:NAME`.

    Raises ValueError with what would be right.
    """
    if text.startswith("systemd:"):
        return _systemd(text.removeprefix("systemd:"), text)
    if text.removeprefix("unix:").startswith("@"):
        raise ValueError(
            f"{text!r}: an abstract socket has no owner and no mode, so every user of this machine"
            " may connect; write /path"
        )
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"), text)
    if "://" in text:
        raise ValueError(f"{text!r} is a URL, not an address; {_WRITE}")
    if "/" in text:
        return _unix(text, text)
    host, colon, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        wrong = "has no port from 1 to 65535" if colon or port.isdecimal() else "is no address"
        raise ValueError(f"{text!r} {wrong}; {_WRITE}")
    return TcpAddress(_host(host, text) if colon else "", int(port))


def format_address(address: ListenAddress) -> str:
    """The text that `parse_address` reads back."""
    match address:
        case UnixAddress(path):
            return path if path.startswith("/") and "://" not in path else f"unix:{path}"
        case TcpAddress("", port):
            return f"*:{port}"
        case TcpAddress(host, port):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case SystemdAddress(name):
            return f"systemd:{name}"


def parse_network(text: str) -> IpNetwork:
    """An address or a network of `listen.allowed_clients`; a bare address is a network of one.

    IPv4 written as IPv6 (::ffff:10.1.2.3) is taken for what it means, as it is in clients.
    """
    if "%" in text:
        raise ValueError(
            f"{text!r} has a scope, and clients are told apart by their address alone;"
            f" write {text.partition('%')[0]}"
        )
    try:
        return _unmapped(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an address or network; write it as 10.1.2.3, 10.0.0.0/8 or fd00::/8"
        ) from None
    raise ValueError(f"{text!r} is an address inside a network; write the network as {network}")


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, stands for this machine alone."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def open_to_all(place: str, remedy: str) -> str:
    """What is wrong with listening on `place`, which is no loopback address, without a list."""
    return (
        f"{place} can be reached from other machines, and whoever can connect runs requests with"
        " any parameters, past the web server (FastCGI knows no password); set"
        f" listen.allowed_clients, or {remedy}"
    )


def format_network(network: IpNetwork) -> str:
    """The text that `parse_network` reads back; a network of one as a bare address."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def _unmapped(network: IpNetwork) -> IpNetwork:
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def _unix(path: str, text: str) -> UnixAddress:
    if not path or path.endswith("/"):
        raise ValueError(f"{text!r} names no socket file; {_WRITE}")
    return UnixAddress(path)


def _systemd(name: str, text: str) -> SystemdAddress:
    if not _SYSTEMD_NAME.fullmatch(name):
        raise ValueError(
            f"{text!r} names no socket of systemd; write systemd:NAME with the"
            " FileDescriptorName of the socket unit"
        )
    return SystemdAddress(name)


def _host(host: str, text: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"{text!r} has no IPv6 address in its brackets; {_WRITE}") from None
    if ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, such as [::1]:9000")
    if not host:
        raise ValueError(f"{text!r} has no host; {_WRITE}")
    if not all(1 <= len(label) <= _LONGEST_LABEL for label in host.removesuffix(".").split(".")):
        raise ValueError(
            f"{text!r}: each part of a host name has 1 to {_LONGEST_LABEL} characters; {_WRITE}"
        )
    return "" if host == "*" else host
