"""Making room for a socket: what may be removed, and what never."""

import os
import socket
import stat

import pytest

from pyfpm.errors import SpawnError
from pyfpm.kernel.socket_path import clear_stale_socket, is_answered


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "s.sock")


def bind(path, kind=socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(path)
    return sock


def test_nothing_happens_where_nothing_is(path):
    """The usual start."""
    clear_stale_socket(path)
    assert not is_answered(path)


def test_socket_file_of_a_dead_server_is_removed(path):
    """After a crash the pool must come up again by itself."""
    with bind(path) as sock:
        sock.listen()
    assert os.path.exists(path)
    clear_stale_socket(path)
    assert not os.path.lexists(path)


def test_socket_file_that_was_bound_and_never_listened_on_is_removed(path):
    """A master that died between bind and listen left it."""
    bind(path).close()
    clear_stale_socket(path)
    assert not os.path.lexists(path)


def test_live_server_is_left_alone(path):
    """Taking its address away would cost another service its clients."""
    with bind(path) as sock:
        sock.listen()
        with pytest.raises(SpawnError, match="another server answers there"):
            clear_stale_socket(path)
        assert stat.S_ISSOCK(os.lstat(path).st_mode)


def test_live_server_with_a_full_backlog_is_left_alone_at_once(path):
    """A busy server is no dead one, and the start does not hang on it."""
    with bind(path) as sock:
        sock.listen(0)
        clients = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            clients.append(client)
            if client.connect_ex(path):
                break
        with pytest.raises(SpawnError, match="another server answers there"):
            clear_stale_socket(path)
        for client in clients:
            client.close()


def test_server_of_another_socket_type_is_left_alone(path):
    """A datagram socket such as /dev/log cannot be asked, so it is not taken for dead."""
    with bind(path, socket.SOCK_DGRAM), pytest.raises(OSError, match="wrong type"):
        clear_stale_socket(path)
    assert os.path.exists(path)


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link", "fifo"])
def test_whatever_is_no_socket_is_never_removed(path, tmp_path, kind):
    """A typing error in `listen` must not delete a file; a link is not followed."""
    target = tmp_path / "target"
    if kind == "file":
        (tmp_path / "s.sock").write_text("precious")
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        if kind == "link":
            bind(str(target)).close()
        os.symlink(target, path)
    with pytest.raises(SpawnError, match="a file that is no socket"):
        clear_stale_socket(path)
    assert os.path.lexists(path)
