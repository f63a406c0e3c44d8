"""The hand-off channel: how a kept connection finds a worker that has time for it (DESIGN 4).

One SEQPACKET socket pair per pool. Every worker and the master hold both ends, so what is in
flight survives any of them. A message is one byte and one descriptor; FIONREAD therefore counts
the messages. The byte says whether a request was answered on the connection before: then it is a
kept one, which its web server may use at any time.

The surplus rule: connections are offered only while more workers are idle than messages wait.
Without that bound a saturated pool passed a third of all requests round in circles. Two workers
may see the same idle third one and both offer: the second message then waits until somebody goes
idle, like a connection in the listen backlog, and nothing is lost.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable

from pyfpm.errors import ProtocolError
from pyfpm.kernel.descriptors import (
    is_hung_up,
    receive_with_descriptors,
    send_with_descriptors,
    unread_bytes,
)

# EAGAIN: 278 messages wait. ETOOMANYREFS: too many descriptors of this user are in flight. EPIPE:
# some worker has shut the channel down; the master sees to it, and until then nobody hands over.
_TRY_LATER = frozenset(
    {errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM, errno.EPIPE, errno.ENOTCONN}
)


_KEPT, _NEW = b"c", b"n"


class Channel:
    """One worker's view of the channel."""

    def __init__(self, send_fd: int, receive_fd: int, count_idle: Callable[[], int]) -> None:
        self._sender = socket.socket(fileno=send_fd)
        self._receiver = socket.socket(fileno=receive_fd)
        self._sender.setblocking(False)
        self._receiver.setblocking(False)
        self._count_idle = count_idle
        self._reserve = _open_reserve()
        self.lost = 0
        self.took_kept = True
        """Whether what was taken last may be a kept connection."""
        self.is_shut = False
        """Some worker has spoilt it for all: nothing is taken out of it any more."""

    def fileno(self) -> int:
        """The descriptor that is readable while messages wait."""
        return self._receiver.fileno()

    def room(self) -> int:
        """How many connections the surplus rule allows to offer now; zero or less for none."""
        idle = self._count_idle()
        return idle - unread_bytes(self._receiver.fileno()) if idle > 0 else 0

    def offer(self, descriptor: int, *, is_kept: bool = True) -> bool:
        """Send a quiet connection; False if the channel has no room, then it is still yours.

        After True the caller closes its own copy and forgets the connection.
        """
        try:
            send_with_descriptors(self._sender, _KEPT if is_kept else _NEW, [descriptor])
        except OSError as error:
            if error.errno in _TRY_LATER:
                return False
            raise
        return True

    def take(self) -> int | None:
        """A connection that somebody offered, or None if none waits.

        The kernel drops descriptors that do not fit into the process (MSG_CTRUNC), and with them
        a client. So one descriptor is kept in reserve and given back just before receiving.
        OSError(EMFILE) means that even the reserve is gone: take nothing until one is free.
        """
        while True:
            descriptor = self._receive()
            if descriptor is None:
                return None
            # A defective application may have put anything there. Whatever is no socket would
            # block the worker that reads from it, or be refused by its epoll.
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.set_blocking(descriptor, False)
                return descriptor
            os.close(descriptor)

    def _receive(self) -> int | None:
        """The next descriptor; None if no message waits."""
        while True:
            self._free_reserve()
            try:
                data, descriptors, truncated = receive_with_descriptors(self._receiver, 16, 1)
            except BlockingIOError:
                return None
            except ProtocolError:  # the master sees what was done to the channel, too
                self.is_shut = True
                return None
            finally:
                self._reserve = _open_reserve()
            self.lost += truncated
            if descriptors:
                self.took_kept = data != _NEW
                return descriptors[0]
            if not data and is_hung_up(self._receiver.fileno()):
                self.is_shut = True
                return None

    def _free_reserve(self) -> None:
        if self._reserve is None:
            self._reserve = _open_reserve()
            if self._reserve is None:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        os.close(self._reserve)
        self._reserve = None

    def close(self) -> None:
        """Give up both ends, in a child that the application forked."""
        for end in (self._sender, self._receiver):
            with contextlib.suppress(OSError):
                end.close()


def _open_reserve() -> int | None:
    try:
        return os.eventfd(0, os.EFD_CLOEXEC)  # needs no file: a root folder may lack /dev/null
    except OSError:
        return None
