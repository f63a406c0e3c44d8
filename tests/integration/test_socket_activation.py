"""Pools that listen on sockets of systemd: a stand-in opens them and passes them by name."""

import os
import socket
from contextlib import ExitStack, contextmanager

import pytest
from harness.fcgi_client import fetch
from harness.machine import temporary_folder, wait_until
from harness.master import Pyfpm, run_pyfpm
from harness.processes import watching
from harness.service_manager import launcher

from pyfpm.master.activation import PassedSockets

POOL = """
[pool:web]
app = torture:app
listen = {listen}
pm = static
pm.max_children = 1
{more}
"""


def pool_of(listen, more=""):
    return POOL.format(listen=listen, more=more)


@pytest.fixture
def folder():
    with temporary_folder() as made:
        yield made


@pytest.fixture
def opened(folder):
    """Make listening sockets as systemd would; they end with the test."""
    with ExitStack() as stack:

        def open_socket(place="web.sock", *, listens=True, kind=socket.SOCK_STREAM):
            family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
            sock = stack.enter_context(socket.socket(family, kind))
            sock.bind(str(folder / place) if family == socket.AF_UNIX else place)
            if family == socket.AF_UNIX:
                os.chmod(folder / place, 0o666)
            if listens:
                sock.listen()
            return sock

        yield open_socket


@contextmanager
def started(pools, names, sockets, **options):
    with Pyfpm(
        pools,
        launcher=launcher(names, sockets),
        pass_fds=[sock.fileno() for sock in sockets],
        **options,
    ) as fpm:
        yield fpm


def refuse(pools, names, sockets, *, code=78, pid=""):
    """Start with sockets that must be refused; return what was said."""
    with Pyfpm(
        pools,
        launcher=launcher(names, sockets, pid=pid),
        pass_fds=[sock.fileno() for sock in sockets],
        wait_ready=False,
    ) as fpm:
        assert fpm.process.wait(20) == code, fpm.log.text()
        fpm.log.wait_for_end()
        return fpm.log.text().replace(str(fpm.config), "CONFIG")


def address_of(sock):
    place = sock.getsockname()
    return f"unix:{place}" if isinstance(place, str) else f"{place[0]}:{place[1]}"


def test_sockets_of_either_kind_are_served_by_name(opened):
    """A Unix socket and a port; the names decide, not the order."""
    unix, port = opened(), opened(("127.0.0.1", 0))
    pools = pool_of("systemd:unix") + pool_of("systemd:port").replace("pool:web", "pool:port")
    with started(pools, "port:unix", [port, unix]) as fpm:
        for sock, pool in ((unix, "web"), (port, "port")):
            assert fetch(address_of(sock)).status == 200
            wait_until(lambda pool=pool: fpm.pool_status(pool)["accepted conn"] == 1)
        assert not fpm.log.find("no pool uses it")


def test_sockets_of_one_name_are_all_listeners_of_the_pool(opened):
    """ListenStream= may stand several times in a unit; next to an address of the pool's own."""
    first, second = opened("a.sock"), opened("b.sock")
    pools = pool_of("systemd:web, %(here)s/own.sock")
    with started(pools, "web:web", [first, second]) as fpm:
        for address in (address_of(first), address_of(second), fpm.address("own.sock")):
            assert fetch(address).status == 200


def test_the_sockets_outlive_the_master(opened, folder):
    """The file is systemd's; what connects meanwhile is served by the next master."""
    sock = opened()
    with started(pool_of("systemd:web"), "web", [sock]):
        assert fetch(address_of(sock)).status == 200
    assert (folder / "web.sock").is_socket()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "web.sock"))


def test_sockets_without_names_are_called_unknown(opened):
    """As sd_listen_fds_with_names(3) says."""
    sock = opened()
    with started(pool_of("systemd:unknown"), "", [sock]):
        assert fetch(address_of(sock)).status == 200


def test_a_name_that_was_not_passed_is_refused_with_those_that_were(opened):
    """The line of the pool, and what could be meant."""
    said = refuse(pool_of("systemd:wbe"), "web:api", [opened("a.sock"), opened("b.sock")])
    assert "systemd passed no socket of this name, but web, api" in said
    assert "[pool:web] listen: bind systemd:wbe: " in said
    assert "CONFIG:" in said


def test_sockets_for_another_process_are_none(opened):
    """LISTEN_PID of a parent that forgot to clean up."""
    said = refuse(pool_of("systemd:web"), "web", [opened()], pid="1")
    assert "systemd passed no sockets: start the service by its socket unit" in said


def test_a_socket_that_no_pool_uses_is_named_and_stays_open(opened):
    """Its clients would wait for ever; a later reload may want it."""
    used, unused = opened("a.sock"), opened("b.sock")
    with started(pool_of("systemd:web"), "web:spare", [used, unused]) as fpm:
        assert len(fpm.log.find(r"WARNING: systemd passed the socket spare, and no pool")) == 1
        assert fetch(address_of(used)).status == 200
        unused.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(used.getsockname()).replace("a.sock", "b.sock"))


@pytest.mark.parametrize(
    ("place", "options", "complaint"),
    [
        ("web.sock", {"listens": False}, "does not listen; set Accept=no"),
        (("127.0.0.1", 0), {"listens": False, "kind": socket.SOCK_DGRAM}, "use ListenStream="),
        ("web.sock", {"kind": socket.SOCK_SEQPACKET}, "use ListenStream="),
        (("0.0.0.0", 0), {}, "can be reached from other machines"),
    ],
)
def test_a_socket_that_cannot_be_meant_is_refused(opened, place, options, complaint):
    """Not a listening stream socket, or open to everybody without an allow-list."""
    assert complaint in refuse(pool_of("systemd:web"), "web", [opened(place, **options)])


def test_a_descriptor_that_is_no_socket_is_refused(folder):
    """A FIFO, which a socket unit may pass as well."""
    with open(folder / "file", "w", encoding="ascii") as file:
        said = refuse(pool_of("systemd:web"), "web", [file])
    assert "descriptor 3 is no socket" in said


def test_allowed_clients_hold_for_a_port_of_systemd(opened):
    """An open port with an allow-list is served, and the list is asked."""
    sock = opened(("0.0.0.0", 0))
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    with started(pool_of("systemd:web", "listen.allowed_clients = 127.0.0.1"), "web", [sock]):
        assert fetch(address).status == 200
    with started(pool_of("systemd:web", "listen.allowed_clients = 10.9.9.9"), "web", [sock]) as fpm:
        assert not fetch(address).complete
        fpm.log.wait_for("is not among listen.allowed_clients")


def test_check_does_not_ask_for_the_sockets(folder):
    """Nobody runs `pyfpm check` from a socket unit."""
    config = folder / "pyfpm.conf"
    config.write_text(
        f"[pyfpm]\ncontrol = control.sock\n{pool_of('systemd:web', f'directory = {folder}')}"
    )
    done = run_pyfpm("-c", config, "check")
    assert "listen" not in done.stderr


def test_a_worker_replaced_later_gets_the_sockets_too(opened):
    """They belong to the pool for as long as it lives."""
    sock = opened()
    with started(pool_of("systemd:web"), "web", [sock]) as fpm:
        (worker,) = fpm.worker_pids("web")
        with watching(worker) as ends:
            os.kill(worker, 9)
            ends.wait()
        assert fetch(address_of(sock)).status == 200


def test_a_pools_end_leaves_the_socket_for_the_next(opened):
    """A reload may remove the pool and bring it back; systemd passes its sockets only once."""
    sock = opened()
    passed = PassedSockets({sock.fileno(): "web"})
    for _ in range(2):
        (duplicate,) = passed.duplicate("web", is_limited=False)
        assert not duplicate.get_inheritable()
        duplicate.close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(sock.getsockname())
