"""Listening sockets on the disk: replaced, refused, owned and removed."""

import os
import socket
import stat
from types import SimpleNamespace

import pytest
from forked import Forked
from harness.machine import free_port

from pyfpm.config import load_config
from pyfpm.errors import SpawnError
from pyfpm.kernel.sock_diag import read_listen_queue
from pyfpm.master.adoption import Allowance
from pyfpm.master.demand import Demand
from pyfpm.master.identity import Identity
from pyfpm.master.listeners import open_listeners

POOL_USER = Identity(12345, 23456, (23456,), "", "", None, True)
OURSELVES = Identity(None, None, (), "", "", None, True)


@pytest.fixture
def make(tmp_path):
    """Options of a pool that listens on these addresses, `{0}` being the test's folder."""
    tmp_path.chmod(0o755)

    def make(*lines):
        text = "\n".join(["[pool:shop]", "app = shop:app", *lines]).format(tmp_path)
        config = load_config(
            str(tmp_path / "pyfpm.conf"),
            {},
            is_root=os.geteuid() == 0,
            allow_root=True,
            check_system=False,
            text=text,
        )
        return config.pools["shop"]

    return make


def answers(path):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def close_all(listeners):
    for listener in listeners:
        listener.close()


def test_socket_listens_and_its_file_goes_with_it(make, tmp_path):
    """Opened, connectable, removed at the end."""
    (listener,) = open_listeners(make("listen = {0}/s"), OURSELVES)
    assert answers(tmp_path / "s")
    assert (listener.address, listener.path, listener.is_tcp) == (
        f"{tmp_path}/s",
        f"{tmp_path}/s",
        False,
    )
    listener.close()
    assert os.listdir(tmp_path) == []


def test_owner_and_mode_are_exactly_those_of_the_pool(as_root, make, tmp_path):
    """By default the pool's own user and group, 0660, whatever the master's umask is."""
    for umask in (0, 0o22, 0o77):
        before = os.umask(umask)
        try:
            (listener,) = open_listeners(make("listen = {0}/s"), POOL_USER)
            assert os.umask(umask) == umask
        finally:
            os.umask(before)
        found = os.lstat(tmp_path / "s")
        assert (found.st_uid, found.st_gid) == (12345, 23456)
        assert stat.S_IMODE(found.st_mode) == 0o660
        listener.close()


def test_listen_owner_group_and_mode_win_over_the_pool(as_root, make, tmp_path):
    """The web server's user is often the one who must reach it."""
    options = make(
        "listen = {0}/s", "listen.owner = 111", "listen.group = 222", "listen.mode = 0606"
    )
    (listener,) = open_listeners(options, POOL_USER)
    found = os.lstat(tmp_path / "s")
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (111, 222, 0o606)
    listener.close()


def test_socket_is_never_wider_than_its_mode_while_it_is_made(as_root, make, tmp_path):
    """Somebody who looks and connects all the time finds no instant of wider access."""
    path = tmp_path / "s"
    options = make("listen = {0}/s", "listen.mode = 0640", f"listen.owner = {os.getuid()}")

    def watch(orders, tell):
        os.set_blocking(orders, False)
        wider = set()
        seen = 0
        tell(b"s")
        while True:
            try:
                mode = stat.S_IMODE(os.lstat(path).st_mode)
                seen += 1
                wider |= {mode} if mode & ~0o640 else set()
            except FileNotFoundError:
                try:
                    if os.read(orders, 1):
                        break
                except BlockingIOError:
                    pass
        tell(b"w" if wider else b"." if seen > 50 else b"?")

    umask = os.umask(0)
    try:
        with Forked(watch) as watcher:
            assert watcher.hear() == b"s"
            for _ in range(400):
                close_all(open_listeners(options, POOL_USER))
            watcher.order(b"e")
            assert watcher.hear() == b"."
    finally:
        os.umask(umask)


@pytest.mark.parametrize("umask", [0o22, 0o77])
def test_folder_of_the_socket_is_created_where_its_parent_exists(make, tmp_path, umask):
    """`/run/pyfpm` is gone after each boot; the web server must be able to enter it."""
    before = os.umask(umask)
    try:
        close_all(open_listeners(make("listen = {0}/run/s"), OURSELVES))
    finally:
        os.umask(before)
    found = os.stat(tmp_path / "run")
    assert found.st_uid == os.geteuid()
    assert stat.S_IMODE(found.st_mode) == 0o755


def test_folder_that_exists_is_left_as_it_is(make, tmp_path):
    """Its mode may be the administrator's choice."""
    (tmp_path / "run").mkdir(mode=0o700)
    close_all(open_listeners(make("listen = {0}/run/s"), OURSELVES))
    assert stat.S_IMODE(os.stat(tmp_path / "run").st_mode) == 0o700


def test_missing_parent_of_the_folder_is_an_error_with_the_address(make, tmp_path):
    """A typing error in the path does not grow a tree."""
    with pytest.raises(
        SpawnError, match=rf"bind {tmp_path}/a/b/s: make its folder .*/a/b: no such"
    ):
        open_listeners(make("listen = {0}/a/b/s"), OURSELVES)
    assert os.listdir(tmp_path) == []


def test_stale_socket_is_replaced(make, tmp_path):
    """After a crash."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
        dead.listen()
    assert not answers(tmp_path / "s")
    listeners = open_listeners(make("listen = {0}/s"), OURSELVES)
    assert answers(tmp_path / "s")
    close_all(listeners)


def test_live_socket_is_refused_and_goes_on(make, tmp_path):
    """A second master with the same configuration."""
    first = open_listeners(make("listen = {0}/s"), OURSELVES)
    with pytest.raises(SpawnError, match=rf"bind {tmp_path}/s: another server answers there"):
        open_listeners(make("listen = {0}/s"), OURSELVES)
    assert answers(tmp_path / "s")
    close_all(first)


def test_regular_file_is_refused_and_kept(make, tmp_path):
    """`listen = /etc/passwd` deletes nothing."""
    (tmp_path / "s").write_text("precious")
    with pytest.raises(SpawnError, match="a file that is no socket"):
        open_listeners(make("listen = {0}/s"), OURSELVES)
    assert (tmp_path / "s").read_text() == "precious"


def test_all_addresses_are_opened_or_none(make, tmp_path):
    """A pool that cannot have its second address leaves no file and no port behind."""
    before = len(os.listdir("/proc/self/fd"))
    port = free_port()
    (tmp_path / "taken").write_text("")
    options = make(f"listen = {{0}}/s, 127.0.0.1:{port}, {{0}}/taken")
    with pytest.raises(SpawnError, match=rf"bind {tmp_path}/taken: "):
        open_listeners(options, OURSELVES)
    assert os.listdir(tmp_path) == ["taken"]
    assert len(os.listdir("/proc/self/fd")) == before
    socket.create_server(("127.0.0.1", port)).close()


def test_file_of_somebody_else_is_not_removed_at_the_end(make, tmp_path):
    """A new master may have taken the path over already."""
    (listener,) = open_listeners(make("listen = {0}/s"), OURSELVES)
    os.unlink(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "s"))
        listener.close()
        assert os.path.exists(tmp_path / "s")


def test_file_that_is_gone_already_is_no_error_at_the_end(make, tmp_path):
    """tmpreaper took it."""
    (listener,) = open_listeners(make("listen = {0}/s"), OURSELVES)
    os.unlink(tmp_path / "s")
    listener.close()


@pytest.mark.parametrize("number", [3, 511])
def test_backlog_is_the_wanted_one(make, number):
    """`listen.backlog` is what status shows as the limit."""
    (listener,) = open_listeners(make("listen = {0}/s", f"listen.backlog = {number}"), OURSELVES)
    assert read_listen_queue(listener.sock).limit == number
    listener.close()


def test_backlog_of_minus_one_is_the_most_that_the_kernel_gives(make):
    """PHP-FPM's meaning of -1."""
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
        most = int(file.read())
    (listener,) = open_listeners(make("listen = {0}/s"), OURSELVES)
    assert read_listen_queue(listener.sock).limit == most
    listener.close()


@pytest.mark.parametrize(("host", "connect"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")])
def test_tcp_listener_answers_where_it_says_and_nowhere_else(make, host, connect):
    """A pool on loopback is not on the network."""
    port = free_port()
    try:
        listeners = open_listeners(make(f"listen = {host}:{port}"), OURSELVES)
    except SpawnError:
        if ":" in connect:
            pytest.skip("no IPv6 here")
        raise
    assert [listener.is_tcp for listener in listeners] == [True]
    socket.create_connection((connect, port), 5).close()
    assert listeners[0].sock.getsockname()[0] == connect
    close_all(listeners)


def test_accepted_tcp_connections_do_not_wait_for_acknowledgements(make):
    """TCP_NODELAY on the listener is inherited."""
    port = free_port()
    (listener,) = open_listeners(make(f"listen = 127.0.0.1:{port}"), OURSELVES)
    with socket.create_connection(("127.0.0.1", port), 5), listener.sock.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    listener.close()


def test_taken_port_is_an_error_with_the_address(make):
    """Another service listens there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SpawnError, match=rf"bind 127\.0\.0\.1:{port}: address already in use"):
            open_listeners(make(f"listen = 127.0.0.1:{port}"), OURSELVES)


def test_bare_port_answers_on_ipv4_at_least(make):
    """`listen = 9000`, as in PHP-FPM."""
    port = free_port()
    listeners = open_listeners(
        make(f"listen = {port}", "listen.allowed_clients = 127.0.0.1"), OURSELVES
    )
    socket.create_connection(("127.0.0.1", port), 5).close()
    close_all(listeners)


def test_ended_pool_has_no_backlogs():
    """Its status may be asked for until the last of its sockets are closed."""
    parts = SimpleNamespace(give_up=None, send=None)
    doorman = SimpleNamespace(allowance=Allowance(), disposal=parts, examiner=None)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listener = SimpleNamespace(sock=sock)
        demand = Demand([listener], parts, None, 0, None, None, doorman)
        assert len(demand.queues()) == 1
        os.close(sock.detach())
        for _ in range(2):
            assert demand.queues() == []
