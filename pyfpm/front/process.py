"""The front end's process: forked from the command line before the master's loop exists.

The HTTP socket is bound before the fork, so that an address in use is an error at once. The child
then gives up root for good, asks to be ended with its parent, and serves.
"""

import os
import select
import signal
import socket
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pwd import getpwnam
from typing import NoReturn

from pyfpm.config.addresses import Address
from pyfpm.front.gateway import Gateway
from pyfpm.front.server import serve
from pyfpm.kernel.pidfd import send_signal
from pyfpm.kernel.prctl import set_no_new_privs, set_parent_death_signal
from pyfpm.kernel.title import set_title
from pyfpm.logs import Level, Log, LogSettings, open_log

journal = Log()

BACKLOG = 512
LOG_LIMIT = 1024  # characters a line, as the master's log_limit unless set
END_TIMEOUT_S = 10  # waitress gives its threads half of it
EXTRA_THREADS = 8  # beyond the pool's workers: for requests that wait for one


@dataclass(frozen=True, slots=True)
class FrontUser:
    """Who the front end becomes when pyfpm runs as root."""

    name: str
    uid: int
    gid: int


@dataclass(slots=True)
class Front:
    """The running front end. The master may reap it: only `pidfd` means this process for sure."""

    pid: int
    pidfd: int
    url: str
    app: str

    def ready(self) -> None:
        """Say on stdout that the application answers now, and where."""
        print(f"pyfpm: {self.url} serves {self.app}; Ctrl-C ends it", flush=True)  # noqa: T201

    def end(self) -> None:
        """End the front end, if it still runs, and wait until it is gone."""
        send_signal(self.pidfd, signal.SIGTERM)
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(END_TIMEOUT_S * 1000):
            send_signal(self.pidfd, signal.SIGKILL)
        os.close(self.pidfd)


def find_front_user() -> FrontUser | None:
    """`nobody` when this process is root; None when there is nothing to give up."""
    if os.geteuid() != 0:
        return None
    try:
        entry = getpwnam("nobody")
    except KeyError:
        return FrontUser("65534", 65534, 65534)  # the kernel's own overflow ids
    return FrontUser("nobody", entry.pw_uid, entry.pw_gid)


def bind_http(host: str, port: int) -> socket.socket:
    """A listening TCP socket; raises OSError (address in use, unknown host, …)."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def start_front(
    sock: socket.socket, pool: Address, *, app: str, user: FrontUser | None, workers: int
) -> Front:
    """Fork the front end; it serves HTTP on `sock` and asks the pool's listener for answers.

    `app` is what the pool serves, for people. Closes `sock` here. The caller must have one thread.
    """
    url = _url(sock)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run(lambda: _serve(sock, pool, user, parent, workers))
    sock.close()
    return Front(pid, os.pidfd_open(pid), url, app)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _run(serve_requests: Callable[[], None]) -> NoReturn:
    """The child's whole life; it never returns into the code that forked it."""
    code = 1
    try:
        serve_requests()
        code = 0
    except SystemExit:
        code = 0
    # The one boundary of this process: whatever it is becomes a line and an exit code.
    except BaseException:  # noqa: BLE001
        journal.alert("front_failed", f"front: {traceback.format_exc()}")
    finally:
        os._exit(code)


def _serve(
    sock: socket.socket, pool: Address, user: FrontUser | None, parent: int, workers: int
) -> None:
    _set_signals()
    set_title("pyfpm: front")
    open_log(LogSettings("stderr", Level.WARNING, json=False, limit=LOG_LIMIT))
    _load_late_imports()
    if user is not None:
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    set_no_new_privs()
    # A change of credentials clears this setting, so it comes after; and the parent may have died
    # before it was made, in which case no signal will ever come.
    set_parent_death_signal(signal.SIGTERM)
    if os.getppid() != parent:
        return
    serve(sock, Gateway(pool), threads=workers + EXTRA_THREADS)


def _set_signals() -> None:
    for signum in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(signum, _end)
    # Ctrl-C reaches the whole foreground group. The master decides what it means, and ends this
    # process when the last request is done.
    for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _end(signum: int, frame: object) -> NoReturn:  # noqa: ARG001  # a signal handler's form
    raise SystemExit


def _load_late_imports() -> None:
    """Import now what libraries import at their first use.

    As nobody, the process may not be able to read the folder that Python was installed in.
    """
    with tempfile.TemporaryFile():  # waitress: bodies larger than memory should hold
        pass
    "localhost".encode("idna")
