"""What a worker has in its hands at the moment when it is killed, counted and not guessed.

Theory of operation. A worker runs one request at a time, and it holds kept connections on which
the next ones may already wait, sent and not yet read. Both are lost with it; what waits in the
listen backlog or in the hand-off channel is not, for others hold those too. So while nobody moves,
the web server and the worker both stopped, the requests in flight in the worker are

    1                                  the one that it may be reading or running
    + its connections with bytes       each has one request: FastCGI's next one on a connection
      that it has not read             begins after the end of the last

The web server is stopped first: what it has sent by then is in the sockets and counted, and it
sends nothing more before the worker is dead and it can see that. Requests are small enough here
for one write, so that no connection has one half in its worker and half in the socket.

One more can fail that was never in the worker: nginx was stopped after it had chosen an idle kept
connection and before it wrote to it. It writes to a dead connection then (EPIPE) and says so in
its log, where `count_unsent` finds these. With its default `fastcgi_next_upstream` nginx would
send such a request to another worker, a POST too; here it must not, since nothing may be hidden.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import termios
from collections.abc import Iterator

import pytest
from harness.log_reader import LogReader
from harness.machine import wait_until
from harness.processes import process_fields, watching

# Small enough to go to a worker in one piece, head and parameters included.
LARGEST = 8_000

_PIDFD_GETFD = 438  # on every architecture (Linux 5.6)
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process until the block ends; inside, it has really stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: process_fields(pid)["State"].startswith("T"), interval_s=0.0005)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def kill_and_count(worker: int, web_server: int, path: str) -> int:
    """Kill a worker; return how many requests it had in its hands, at most."""
    with stopped(web_server), watching(worker) as ends, stopped(worker):
        count = 1 + count_unread(worker, path)
        os.kill(worker, signal.SIGKILL)
        # A dying process holds its sockets for milliseconds yet, and the web server would use them.
        ends.wait()
    return count


def count_unsent(log: LogReader) -> int:
    """Return how many requests nginx could not write to a worker that was gone already."""
    return len(log.find(r"writev\(\) failed \(32: Broken pipe\) while sending request"))


def count_unread(pid: int, path: str) -> int:
    """Return how many connections of a listener hold bytes that their process has not read."""
    return sum(has_unread(link, path) for link in sockets_of(pid))


def has_unread(link: socket.socket, path: str) -> bool:
    try:
        if link.getsockname() != path:
            return False
        link.getpeername()  # the listener itself has no peer
    except OSError:
        return False
    waiting = fcntl.ioctl(link, termios.FIONREAD, bytes(4))
    return struct.unpack("i", waiting)[0] > 0


def sockets_of(pid: int) -> Iterator[socket.socket]:
    """Yield the stream sockets of a process, each a copy of our own until the next."""
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                continue
            copy = _libc.syscall(_PIDFD_GETFD, pidfd, int(name), 0)
            if copy < 0:
                pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
            with socket.socket(fileno=copy) as link:
                if link.family == socket.AF_UNIX and link.type == socket.SOCK_STREAM:
                    yield link
    finally:
        os.close(pidfd)
