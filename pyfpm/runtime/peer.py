"""Writing to and reading from a peer whose descriptor is non-blocking, with a time limit."""

import os
import select
from collections.abc import Sequence

from pyfpm.errors import ProtocolError, ResponseError
from pyfpm.runtime.time_limit import time_limit
from pyfpm.units import counted

# Each buffer costs Python a look at every call, and a Unix socket takes 208 KiB at a time as Linux
# is shipped: the records of 512 KiB are more than leave in one call.
_IOV_MOST = 16

_POLL_MOST_MS = 2**31 - 1  # 24 days; select.poll takes no more

AT_ONCE = -1.0
"""For a time limit: do not wait at all; ProtocolError where that would be needed.

What is answered outside of a request has no time limit but this. A peer that is in step has read
what it was sent before, so a short answer always fits.
"""

Part = bytes | memoryview


class PeerGoneError(Exception):
    """The web server closed the connection or stopped reading; nobody is there to answer."""


def write_all(fd: int, data: Part, timeout_s: float) -> None:
    """Write everything; PeerGoneError if the peer is gone or takes nothing for `timeout_s`.

    With AT_ONCE in one write, and ProtocolError if that does not take everything.
    """
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
    pieces = list(parts)
    first = 0
    while first < len(pieces):
        try:
            written = os.writev(fd, pieces[first : first + _IOV_MOST])
        except BlockingIOError:
            _wait(fd, select.POLLOUT, timeout_s, "stopped reading")
            continue
        except OSError as error:
            raise PeerGoneError(error.strerror) from error
        while first < len(pieces) and written >= len(pieces[first]):
            written -= len(pieces[first])
            first += 1
        if written:
            pieces[first] = memoryview(pieces[first])[written:]


def send_file(fd: int, source: int, offset: int, size: int, timeout_s: float) -> None:
    """Send so many bytes of the file `source`, which do not pass through our memory.

    ResponseError if the file ends before that; a write or read that fails as in `write_all` and
    os.pread.
    """
    while size:
        try:
            sent = os.sendfile(fd, source, offset, size)
        except BlockingIOError:
            _wait(fd, select.POLLOUT, timeout_s, "stopped reading")
            continue
        except OSError:
            # The peer has gone, the file cannot be read, or its file system knows no sendfile:
            # the long way tells these apart.
            data = os.pread(source, size, offset)
            write_all(fd, data, timeout_s)
            sent = len(data)
        if not sent:
            raise ResponseError(
                f"the file became {counted(size, 'byte')} shorter while it was sent"
            )
        offset += sent
        size -= sent


def read_into(fd: int, target: memoryview, timeout_s: float) -> int:
    """Read what is there into `target`, waiting for the first byte; 0 at the end of the stream.

    PeerGoneError on a broken connection, TimeoutError if nothing comes for `timeout_s`.
    """
    while True:
        try:
            return os.readv(fd, (target,))
        except BlockingIOError:
            _wait(fd, select.POLLIN, timeout_s, "sent nothing")
        except OSError as error:
            raise PeerGoneError(error.strerror) from error


def _wait(fd: int, what: int, timeout_s: float, failing: str) -> None:
    if timeout_s == AT_ONCE:
        raise ProtocolError("the peer does not read what it is answered")
    poller = select.poll()
    poller.register(fd, what)
    with time_limit.waiting():
        events = poller.poll(min(timeout_s * 1000, _POLL_MOST_MS) if timeout_s > 0 else None)
    if not events:
        if what == select.POLLIN:
            raise TimeoutError(f"the web server {failing} for {timeout_s:g} s")
        raise PeerGoneError(f"the web server {failing} for {timeout_s:g} s")
