"""Addresses of listeners and networks of clients, as text and as values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfpm.config.addresses import (
    SystemdAddress,
    TcpAddress,
    UnixAddress,
    format_address,
    format_network,
    parse_address,
    parse_network,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/run/shop.sock", UnixAddress("/run/shop.sock")),
        ("unix:/run/shop.sock", UnixAddress("/run/shop.sock")),
        ("unix:shop.sock", UnixAddress("shop.sock")),
        ("run/shop.sock", UnixAddress("run/shop.sock")),
        ("127.0.0.1:9000", TcpAddress("127.0.0.1", 9000)),
        ("[::1]:9000", TcpAddress("::1", 9000)),
        ("localhost:9000", TcpAddress("localhost", 9000)),
        ("9000", TcpAddress("", 9000)),
        ("*:9000", TcpAddress("", 9000)),
        ("systemd:web", SystemdAddress("web")),
        ("systemd:pyfpm-web.socket", SystemdAddress("pyfpm-web.socket")),
    ],
)
def test_each_form_of_an_address_is_understood(text, address):
    """Every form that the contract names gives its address."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "write /path, unix:/path, host:port"),
        ("shop", "is no address; write /path, unix:/path, host:port"),
        ("unix:", "names no socket file"),
        ("/run/", "names no socket file"),
        ("localhost:", "no port from 1 to 65535"),
        ("localhost:0", "no port from 1 to 65535"),
        ("localhost:65536", "no port from 1 to 65535"),
        ("0", "no port from 1 to 65535"),
        ("65536", "no port from 1 to 65535"),
        (":9000", "has no host"),
        ("::1:9000", "an IPv6 address stands in brackets"),
        ("[::x]:9000", "no IPv6 address in its brackets"),
        ("tcp://127.0.0.1:9000", "is a URL"),
        (f"{'a' * 64}.example:9000", "each part of a host name has 1 to 63 characters"),
        ("shop..example:9000", "each part of a host name has 1 to 63 characters"),
        ("systemd:", "write systemd:NAME with the FileDescriptorName"),
        ("systemd:a:b", "names no socket of systemd"),
        ("systemd:" + "x" * 256, "names no socket of systemd"),
    ],
)
def test_anything_else_is_refused_with_the_right_forms(text, complaint):
    """A text that is no address says what one looks like."""
    with pytest.raises(ValueError, match=complaint):
        parse_address(text)


_HOSTS = st.ip_addresses().map(str) | st.from_regex(
    r"[a-z][a-z0-9-]{0,62}(\.[a-z0-9-]{1,9}){0,2}\.?", fullmatch=True
)
# A relative path that begins with @ could be an abstract socket: write ./@name.
_PATHS = st.text(min_size=1).filter(lambda path: not path.startswith("@") and path[-1] != "/")


@settings(deadline=None)
@given(
    st.builds(UnixAddress, _PATHS)
    | st.builds(TcpAddress, st.just("") | _HOSTS, st.integers(min_value=1, max_value=65535))
    | st.builds(SystemdAddress, st.from_regex(r"[!-+\-./-9;-~]{1,255}", fullmatch=True))
)
def test_formatted_address_reads_back(address):
    """parse_address is the inverse of format_address."""
    assert parse_address(format_address(address)) == address


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("", False),
        ("10.0.0.1", False),
        ("web.example", False),
    ],
)
def test_only_loopback_counts_as_this_machine(host, expected):
    """What cannot be known to be this machine counts as reachable from others."""
    assert TcpAddress(host, 9000).is_loopback is expected


def test_network_of_one_is_an_address():
    """A bare address is a network of one, and is written as it was."""
    assert [format_network(parse_network(text)) for text in ("10.1.2.3", "::1", "10.0.0.0/8")] == [
        "10.1.2.3",
        "::1",
        "10.0.0.0/8",
    ]


def test_network_with_host_bits_names_the_network_meant():
    """10.1.2.3/8 is ambiguous, so the network is asked for."""
    with pytest.raises(ValueError, match=r"write the network as 10\.0\.0\.0/8"):
        parse_network("10.1.2.3/8")


def test_name_is_no_network():
    """Host names are not resolved."""
    with pytest.raises(ValueError, match="is not an address or network"):
        parse_network("web.example")
