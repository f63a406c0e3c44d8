"""Writing to and reading from a peer whose descriptor is non-blocking, with a time limit."""

import os
import select
from collections.abc import Sequence

from pyfpm.runtime.time_limit import time_limit

_IOV_MOST = 512

Part = bytes | memoryview


class PeerGoneError(Exception):
    """The web server closed the connection or stopped reading; nobody is there to answer."""


def write_all(fd: int, data: Part, timeout_s: float) -> None:
    """Write everything; PeerGoneError if the peer is gone or takes nothing for `timeout_s`."""
    try:
        written = os.write(fd, data)
    except BlockingIOError:
        written = 0
    except OSError as error:
        raise PeerGoneError(error.strerror) from error
    if written != len(data):
        _write_rest(fd, memoryview(data)[written:], timeout_s)


def _write_rest(fd: int, rest: memoryview, timeout_s: float) -> None:
    while rest:
        _wait(fd, select.POLLOUT, timeout_s, "stopped reading")
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            continue
        except OSError as error:
            raise PeerGoneError(error.strerror) from error


def write_parts(fd: int, parts: Sequence[Part], timeout_s: float) -> None:
    """Write all parts in order with as few system calls as the kernel allows, without copying."""
    views = [memoryview(part) for part in parts]
    first = 0
    while first < len(views):
        try:
            written = os.writev(fd, views[first : first + _IOV_MOST])
        except BlockingIOError:
            _wait(fd, select.POLLOUT, timeout_s, "stopped reading")
            continue
        except OSError as error:
            raise PeerGoneError(error.strerror) from error
        while first < len(views) and written >= len(views[first]):
            written -= len(views[first])
            first += 1
        if written:
            views[first] = views[first][written:]


def read_some(fd: int, size: int, timeout_s: float) -> bytes:
    """Up to `size` bytes, waiting for the first; empty at the end of the stream.

    PeerGoneError on a broken connection, TimeoutError if nothing comes for `timeout_s`.
    """
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            _wait(fd, select.POLLIN, timeout_s, "sent nothing")
        except OSError as error:
            raise PeerGoneError(error.strerror) from error


def _wait(fd: int, what: int, timeout_s: float, failing: str) -> None:
    poller = select.poll()
    poller.register(fd, what)
    with time_limit.waiting():
        events = poller.poll(timeout_s * 1000 if timeout_s > 0 else None)
    if not events:
        if what == select.POLLIN:
            raise TimeoutError(f"the web server {failing} for {timeout_s:g} s")
        raise PeerGoneError(f"the web server {failing} for {timeout_s:g} s")
