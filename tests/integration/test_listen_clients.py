"""listen.allowed_clients, with peers over IPv4, IPv6 and IPv4 in IPv6."""

import contextlib
import shutil
import socket
from types import SimpleNamespace

import pytest
from harness.fcgi_client import make_params
from harness.machine import IS_ROOT, free_port, temporary_folder, wait_until
from harness.master import Pyfpm

from pyfpm.fastcgi import encode_request

REQUEST = encode_request(1, make_params("/pid"))
POOL = """
[pool:{name}]
app = torture:app
listen = {listen}
listen.allowed_clients = {allowed}
pm = static
pm.max_children = 1
"""


def has_ipv6():
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


@pytest.fixture(scope="module")
def ports():
    return SimpleNamespace(dual=free_port(), six=free_port(), four=free_port())


@pytest.fixture(scope="module")
def master(ports):
    with Pyfpm(
        POOL.format(name="dual", listen=ports.dual, allowed="127.0.0.0/30, 10.0.0.0/8")
        + POOL.format(name="six", listen=f"[::]:{ports.six}", allowed="::1")
        + POOL.format(name="four", listen=f"0.0.0.0:{ports.four}", allowed="::ffff:127.0.0.2")
    ) as running:
        yield running


def is_served(source, port):
    """Whether a client from that address is answered; False where it is cut off."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    host = "::1" if ":" in source else "127.0.0.1"
    with socket.socket(family) as link:
        link.settimeout(10)
        link.bind((source, 0))
        link.connect((host, port))
        with contextlib.suppress(ConnectionError):
            link.sendall(REQUEST)
            return link.recv(1) == b"\x01"
    return False


def refused(master, pool):
    return master.pool_status(pool)["refused connections"]


@pytest.mark.parametrize(
    ("source", "served"), [("127.0.0.1", True), ("127.0.0.3", True), ("127.0.0.4", False)]
)
def test_a_network_ends_where_its_mask_says(master, ports, source, served):
    """127.0.0.0/30 is four addresses, also over a socket for both families."""
    before = refused(master, "dual")
    assert is_served(source, ports.dual) is served
    wait_until(lambda: refused(master, "dual") == before + (not served))


def test_an_entry_of_ipv4_written_as_ipv6_means_ipv4(master, ports):
    """::ffff:127.0.0.2 is 127.0.0.2 alone."""
    assert is_served("127.0.0.2", ports.four)
    assert not is_served("127.0.0.1", ports.four)


@needs_ipv6
def test_ipv6_and_ipv4_are_told_apart(master, ports):
    """A list of IPv4 networks admits nobody over IPv6, and the other way."""
    assert is_served("::1", ports.six)
    assert not is_served("::1", ports.dual)


def test_who_is_refused_stands_in_the_log_with_the_pool():
    """IPv4 is named as IPv4 is written inside IPv6 where the socket is for both."""
    port = free_port()
    with Pyfpm(POOL.format(name="shop", listen=port, allowed="10.0.0.0/8")) as master:
        assert not is_served("127.0.0.9", port)
        master.log.wait_for(
            r"ERROR: \[pool shop\] child \d+: client (::ffff:)?127\.0\.0\.9 is not among"
            r" listen\.allowed_clients: refused"
        )
        assert refused(master, "shop") == 1
        assert master.pool_status("shop")["accepted conn"] == 0


def test_a_changed_list_holds_for_whoever_connects_from_then_on():
    """A kept connection of the old rules goes on with the worker that admitted it."""
    port = free_port()
    pool = POOL.format(name="shop", listen=f"127.0.0.1:{port}", allowed="127.0.0.1")
    with Pyfpm(pool) as master, socket.create_connection(("127.0.0.1", port), 10) as kept:
        kept.sendall(encode_request(1, make_params("/pid"), b"", keep_conn=True))
        assert kept.recv(65536)
        text = master.config.read_text()
        master.config.write_text(text.replace("clients = 127.0.0.1", "clients = 127.0.0.2"))
        master.control("reload")
        assert not is_served("127.0.0.1", port)
        assert is_served("127.0.0.2", port)
        kept.sendall(encode_request(1, make_params("/pid"), b""))
        assert kept.recv(65536)


@pytest.mark.skipif(not (IS_ROOT and shutil.which("unshare")), reason="needs a mount namespace")
def test_a_localhost_that_is_another_address_is_refused_when_it_is_bound():
    """`localhost` is what /etc/hosts says; the configuration takes it for loopback by its name."""
    with temporary_folder() as folder:
        hosts = folder / "hosts"
        hosts.write_text("10.99.99.99 localhost\n")
        mounted = 'mount --bind "$0" /etc/hosts && exec "$@"'
        with Pyfpm(
            POOL.format(name="shop", listen="localhost:9000", allowed=""),
            launcher=["unshare", "--mount", "sh", "-c", mounted, str(hosts)],
            wait_ready=False,
        ) as master:
            assert master.process.wait(20) == 78, master.log.text()
            master.log.wait_for_end()
            assert "10.99.99.99 port 9000 can be reached from other machines" in master.log.text()
            assert "set listen.allowed_clients" in master.log.text()


def test_a_port_that_is_taken_is_named():
    """The message has the address and the line of the configuration."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        pool = POOL.format(name="shop", listen=f"127.0.0.1:{port}", allowed="127.0.0.1")
        with Pyfpm(pool, wait_ready=False) as master:
            assert master.process.wait(20) == 78, master.log.text()
            master.log.wait_for_end()
            assert f"bind 127.0.0.1:{port}: address already in use" in master.log.text()
