"""How connections come to a worker: the listeners, and the hand-off channel.

Both are registered EPOLLEXCLUSIVE, so one sleeper wakes for each connection. A wake-up that its
worker does not use is lost, and polling again does not bring it back (DESIGN 3): a woken worker
takes one connection before it runs anything else, and a worker that stops listening takes all
that wait, because one of them may be the one it was woken for.

A client that the listener's gate refuses is closed at once. Crowds of them must not keep a worker
from its orders and its other connections, so a wake-up ends after so many; the rest shows up at
the next look, since the listener is level-triggered.

At EMFILE, or with `pm.max_connections` open, the worker closes connections without a request (see
room); where there are none, it stops listening until one is closed. Left registered, the listener
would wake it without end while an idle worker slept.
"""

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator

from pyfpm.kernel.watch import arm_exclusive, disarm
from pyfpm.messages import ListenerPlan
from pyfpm.runtime.channel import Channel
from pyfpm.runtime.gate import make_gate
from pyfpm.runtime.refusals import Refusals
from pyfpm.scoreboard.refusal import AllowList
from pyfpm.units import counted

# accept(2): errors of the connection that was about to be accepted, not of the listener.
_NEXT_PLEASE = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENONET,
        errno.EOPNOTSUPP,
    }
)
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# Crowds of clients that are refused must not keep a worker from its orders and its connections.
# Who waits still shows up at the next look: the listener is level-triggered.
_MOST_REFUSED_AT_ONCE = 256

_set_blocking = os.set_blocking  # found once: see the engine


class Intake:
    """The sources of new connections of one worker, on its epoll."""

    def __init__(
        self,
        epoll: select.epoll,
        plans: tuple[ListenerPlan, ...],
        channel: Channel,
        complain: Callable[[str], None],
        refusals: Refusals,
    ) -> None:
        """`complain` takes a line for the log; `refusals` count refused connections."""
        self._complain = complain
        self._epoll = epoll
        self._channel = channel
        self._listeners = {plan.descriptor: _Listener(plan) for plan in plans}
        self._has_listeners = True
        self.armed = False
        """Whether new connections wake this worker."""
        self.took_kept = False
        """Whether what was taken last is a kept connection, from another worker."""
        self.channel_source = channel.fileno()
        """The source whose connections come from other workers."""
        self.refusals = refusals

    @property
    def sources(self) -> frozenset[int]:
        """The descriptors whose readiness means a new connection."""
        if self._channel.is_shut:
            return frozenset(self._listeners)
        return frozenset({*self._listeners, self.channel_source})

    def arm(self) -> None:
        """Be woken by new connections; shows anew what waits already."""
        self.armed = True
        for descriptor in self.sources:
            arm_exclusive(self._epoll, descriptor)

    def disarm(self) -> None:
        """Be woken no more. A wake-up may be on its way: `take_all` or `arm` follows."""
        self.armed = False
        for descriptor in self.sources:
            disarm(self._epoll, descriptor)

    def rearm(self) -> None:
        """Look again at everything, for a wake-up that got lost with another worker."""
        if self.armed:
            self.disarm()
            self.arm()

    def take_one(self, source: int) -> int | None:
        """One new connection from `source`, non-blocking; None if there is none any more.

        OSError(EMFILE or the like) means that the process has no descriptor left.
        """
        if source == self.channel_source:
            taken = self._channel.take()
            self.took_kept = self._channel.took_kept
            if self._channel.lost:
                lost, self._channel.lost = self._channel.lost, 0
                self._complain(
                    f"{counted(lost, 'connection')} lost on the way: no descriptors left"
                )
            if self._channel.is_shut:  # it would be readable for ever
                disarm(self._epoll, self.channel_source)
            return taken
        self.took_kept = False
        return self._listeners[source].accept(self)

    def take_all(self) -> Iterator[int]:
        """Every connection that waits now, after `disarm`."""
        sources = self.sources if self._has_listeners else [self.channel_source]
        for source in sources:
            while True:
                try:
                    fd = self.take_one(source)
                except OSError as error:
                    if error.errno not in _NO_DESCRIPTORS:
                        raise
                    break
                if fd is None:
                    break
                yield fd

    def let_go(self) -> None:
        """Close the listeners: an address that is configured no more ends with its last owner.

        Their numbers stay taken, for the events of this turn may still name them.
        """
        nothing = os.eventfd(0, os.EFD_CLOEXEC)  # a root folder may lack /dev/null
        for descriptor in self._listeners:
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
        self._has_listeners = False

    def close(self) -> None:
        """Close listeners and channel, in a child that the application forked."""
        self._channel.close()
        for listener in self._listeners.values():
            listener.socket.close()


class _Listener:
    def __init__(self, plan: ListenerPlan) -> None:
        self.socket = socket.socket(fileno=plan.descriptor)
        self.socket.setblocking(False)
        self._accept = self.socket._accept  # type: ignore[attr-defined]  # noqa: SLF001 - see accept
        self._gate = make_gate(plan)
        self._list = AllowList.CLIENTS if plan.allowed else AllowList.USERS

    def accept(self, intake: Intake) -> int | None:
        """One connection as a raw descriptor.

        `socket.accept` would build a socket object and ask the kernel for its family and type;
        `_accept` beneath it, which has been there since Python 3.0, gives the descriptor alone.
        """
        gate = self._gate
        refused = 0
        while refused < _MOST_REFUSED_AT_ONCE:
            try:
                fd, peer = self._accept()
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in _NEXT_PLEASE:
                    continue
                raise
            if gate is not None and (reason := gate(fd, peer)):
                intake.refusals.note_client(self._list, reason, fd)  # before the close is seen
                os.close(fd)
                refused += 1
                continue
            _set_blocking(fd, False)
            return int(fd)
        return None


def out_of_descriptors(error: OSError) -> bool:
    """Whether accepting or receiving failed because no descriptor was free."""
    return error.errno in _NO_DESCRIPTORS
