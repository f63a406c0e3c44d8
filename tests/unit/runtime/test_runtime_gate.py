"""Who may connect: networks against the addresses that accept(2) gives."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.config.addresses import format_network, parse_network
from pyfpm.messages import ListenerPlan
from pyfpm.runtime.gate import is_among, make_gate

IPV4 = st.integers(0, 2**32 - 1).map(IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def networks(*texts):
    """As they come to a worker: read by the configuration, and once more as text."""
    return tuple(ip_network(str(parse_network(text))) for text in texts)


@pytest.mark.parametrize(
    ("host", "list_", "admitted"),
    [
        ("10.1.2.3", ["10.1.2.3"], True),
        ("10.1.2.4", ["10.1.2.3"], False),
        ("10.1.2.3", ["192.0.2.0/24", "10.0.0.0/8"], True),
        ("11.0.0.0", ["10.0.0.0/8"], False),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], True),
        ("::ffff:11.1.2.3", ["10.0.0.0/8"], False),
        ("10.1.2.3", ["::ffff:10.1.2.3"], True),
        ("10.1.2.3", ["::ffff:10.0.0.0/104"], True),
        ("11.1.2.3", ["::ffff:10.0.0.0/104"], False),
        ("::ffff:10.1.2.3", ["::ffff:10.1.2.3"], True),
        ("::ffff:10.1.2.3", ["::/0"], False),
        ("10.1.2.3", ["::/0"], False),
        ("::1", ["0.0.0.0/0"], False),
        ("::1", ["::1"], True),
        ("fd00::1", ["fd00::/8"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("fe80::1%eth0", ["fe80::1"], True),
        ("fe80::2%eth0", ["fe80::1"], False),
        ("2001:db8::1", ["2001:db8::/96"], True),
        ("2001:db8::1:0:1", ["2001:db8::/96"], False),
        ("", ["0.0.0.0/0", "::/0"], False),
        ("/run/x", ["0.0.0.0/0", "::/0"], False),
    ],
)
def test_a_client_is_admitted_by_its_address_alone(host, list_, admitted):
    """IPv4 in IPv6 counts as IPv4 on either side, scopes don't count, what is no address is out."""
    assert is_among(host, networks(*list_)) is admitted


@given(IPV4, IPV4, st.integers(0, 32))
def test_an_ipv4_client_is_the_same_however_it_is_written(client, network, bits):
    """Over an IPv4 or an IPv6 socket, against a list of either form: the same answer."""
    mask = (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF
    base = IPv4Address(int(network) & mask)
    expected = int(client) & mask == int(base)
    for text in (f"{base}/{bits}", f"::ffff:{base}/{96 + bits}"):
        for host in (str(client), f"::ffff:{client}", str(IPv6Address(f"::ffff:{client}"))):
            assert is_among(host, networks(text)) is expected


@given(IPV6, IPV6, st.integers(0, 128))
def test_an_ipv6_client_is_compared_bit_by_bit(client, network, bits):
    """All of the prefix, and nothing behind it; only clients that are IPv4 stay out."""
    mask = ((1 << 128) - 1) << (128 - bits) & ((1 << 128) - 1)
    base = IPv6Address(int(network) & mask)
    if base.ipv4_mapped is not None and bits >= 96:
        return  # an IPv4 network, see above
    expected = client.ipv4_mapped is None and int(client) & mask == int(base)
    assert is_among(str(client), networks(f"{base}/{bits}")) is expected
    assert is_among(f"{client}%eth0", networks(f"{base}/{bits}")) is expected


@given(st.text(max_size=40), st.lists(IPV4.map(str), max_size=3))
def test_no_text_breaks_the_comparison(host, list_):
    """Whatever a kernel gives as an address, the answer is yes or no."""
    assert is_among(host, networks(*list_)) in (True, False)


@given(st.one_of(IPV4, IPV6), st.integers(0, 128))
def test_networks_are_written_as_they_are_read(address, bits):
    """What `check --dump` shows can be pasted into the file and means the same."""
    bits = min(bits, address.max_prefixlen)
    network = ip_network(f"{address}/{bits}", strict=False)
    meant = parse_network(str(network))
    assert parse_network(format_network(meant)) == meant


def test_a_listener_without_a_list_has_no_gate():
    """It costs nothing: there is nothing to call."""
    assert make_gate(ListenerPlan(10, "/run/x", False, ())) is None
    assert make_gate(ListenerPlan(10, "127.0.0.1:9000", True, ())) is None


def test_a_gate_says_who_was_refused_and_by_which_key():
    """The line in the log names the key that would have to change."""
    gate = make_gate(ListenerPlan(10, "9000", True, ("10.0.0.0/8",)))
    assert gate(-1, ("10.1.1.1", 40000)) == ""
    assert gate(-1, ("::ffff:10.1.1.1", 40000, 0, 0)) == ""
    assert gate(-1, ("192.0.2.1", 1)) == "client 192.0.2.1 is not among listen.allowed_clients"


def test_a_client_whose_user_cannot_be_told_is_refused():
    """In doubt the door stays shut: a descriptor that is no socket has no user."""
    gate = make_gate(ListenerPlan(10, "/run/x", False, (), (0, 33)))
    assert "does not say" in gate(-1, "")
