"""Listen queues as the kernel tells them, on TCP and on Unix sockets."""

import os
import select
import socket

import pytest
from forked import run_in_child
from harness.locked_socket import lock as lock_socket
from harness.machine import wait_until

from pyfpm.config import TcpAddress
from pyfpm.kernel.sock_diag import (
    ListenQueue,
    _parse_unix,
    read_file_inode,
    read_listen_queue,
)
from pyfpm.master.listeners import Listener, apply_settings


@pytest.fixture(params=["unix", "abstract", "tcp4", "tcp6"])
def listener(request, tmp_path):
    if request.param == "unix":
        made, address = socket.socket(socket.AF_UNIX), str(tmp_path / "s")
    elif request.param == "abstract":
        made, address = socket.socket(socket.AF_UNIX), ""
    else:
        six = request.param == "tcp6"
        if six and not socket.has_ipv6:
            pytest.skip("no IPv6 here")
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
        address = ("::1" if six else "127.0.0.1", 0)
    try:
        made.bind(address)
    except OSError:
        made.close()
        pytest.skip("no such addresses here")
    made.listen(17)
    yield made
    made.close()


@pytest.mark.parametrize("waiting", [0, 1, 7])
def test_waiting_connections_are_counted_and_the_limit_is_told(listener, waiting):
    """`listen queue` is real on Unix sockets too, where PHP-FPM reports 0."""
    clients = [socket.socket(listener.family) for _ in range(waiting)]
    for client in clients:
        client.settimeout(5)
        client.connect(listener.getsockname())
    try:
        assert read_listen_queue(listener) == ListenQueue(waiting=waiting, limit=17)
        for left in range(waiting - 1, -1, -1):
            listener.accept()[0].close()
            assert read_listen_queue(listener).waiting == left
    finally:
        for client in clients:
            client.close()


def test_two_listeners_are_not_mixed_up(tmp_path):
    """The answer is for the asked inode, whatever else listens."""
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        for number, sock in enumerate((one, other)):
            sock.bind(str(tmp_path / str(number)))
            sock.listen(3 + number)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "1"))
            assert read_listen_queue(one) == ListenQueue(0, 3)
            assert read_listen_queue(other) == ListenQueue(1, 4)


def test_no_descriptor_is_left_behind(tmp_path):
    """The master asks several times a second."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            read_listen_queue(listener)
        assert len(os.listdir("/proc/self/fd")) == before


def test_error_of_the_kernel_is_an_oserror():
    """An inode that is gone, a kernel without the module: status then shows nothing."""
    answer = b"\x24\0\0\0" + b"\x02\0" + bytes(10) + (-2).to_bytes(4, "little", signed=True)
    with pytest.raises(OSError, match="No such file"):
        _parse_unix(answer + bytes(16), 4)


def test_answer_without_a_queue_length_is_an_oserror_and_no_endless_loop():
    """Attributes of length zero must not stop the reader from getting on."""
    header = (60).to_bytes(4, "little") + b"\x14\0" + bytes(10) + bytes(16)
    with pytest.raises(OSError, match="no attribute 4"):
        _parse_unix(header + bytes(28), 4)


def test_inode_of_a_bound_socket_is_its_files_under_any_name(tmp_path):
    """A socket file that was renamed, linked or replaced is still told from another one."""
    with socket.socket(socket.AF_UNIX) as mine, socket.socket(socket.AF_UNIX) as other:
        mine.bind(str(tmp_path / "first"))
        os.link(tmp_path / "first", tmp_path / "second")
        os.unlink(tmp_path / "first")
        other.bind(str(tmp_path / "first"))
        assert read_file_inode(mine) == os.lstat(tmp_path / "second").st_ino & 0xFFFFFFFF
        assert read_file_inode(other) == os.lstat(tmp_path / "first").st_ino & 0xFFFFFFFF


def test_socket_without_a_file_has_no_inode():
    """An unbound socket is an error, not the number of something else."""
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="no attribute"):
        read_file_inode(sock)


def test_listener_that_became_a_locked_connection_is_asked_nothing(as_root):
    """A worker can do that to the listener of its pool; TCP_INFO would wait for ever."""

    def ask():
        with socket.create_server(("127.0.0.1", 0)) as server:
            ours = socket.create_connection(server.getsockname())
            lock = lock_socket(ours.fileno())
            if lock is None:
                return
            wait_until(lambda: not returns(ours.getpeername, lock))
            with pytest.raises(OSError, match="does not listen"):
                read_listen_queue(ours)
            gone = Listener("127.0.0.1:1", ours, None, (0, 0), TcpAddress("127.0.0.1", 1))
            with pytest.raises(OSError, match="does not listen"):
                apply_settings(gone, None, None)
            os.close(lock)

    run_in_child(ask)


def returns(question, lock):
    """Ask in a child, which may hang until the lock is gone."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(lock)
        question()
        os.write(writer, b"!")
        os._exit(0)
    answered = bool(select.select([reader], [], [], 0.3)[0])
    os.close(reader)
    os.close(writer)
    return answered
