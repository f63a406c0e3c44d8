"""Unix sockets that bring bytes into this process, and no descriptors.

Whoever can send to a Unix socket can attach descriptors (SCM_RIGHTS). A receiver that makes no room
for them has to let go of them all the same: the kernel does so within its recv(2), or within its
close(2) where the message was never read. Where that is the last close, it lasts as long as the
sender likes: a TCP connection with SO_LINGER whose peer does not read, for example.

From Linux 6.16 on a socket refuses them (SO_PASSRIGHTS): sendmsg(2) fails with EPERM, and what was
attached stays the sender's. What a listener accepts has the setting that the listener had when it
was connected (tried on 6.18).

Before 6.16 each message is looked at first (MSG_PEEK). The kernel then lets go of duplicates, while
the message holds the originals, and says that it had something for which there was no room. Such a
message is never received: its socket is closed, by a child (kernel.disposal). To receive the
descriptors and give them up would not do: each close of a file on a FUSE mount waits for its
server. Nobody else may receive from the socket, or the look says nothing about what is received.
"""

import contextlib
import socket
from typing import Self

from pyfpm.kernel.disposal import dispose

_SO_PASSRIGHTS = 83
_LEFT_OVER_BYTES = 65536
_LEFT_OVER_PIECES = 16
_CREDENTIALS_BYTES = socket.CMSG_LEN(12)  # struct ucred: there is no room for descriptors after it


class DescriptorsAttachedError(ConnectionError):
    """The next message carries descriptors: nothing will be received any more."""

    def __init__(self) -> None:
        super().__init__("it attached descriptors to a message")


def refuse_descriptors(sock: socket.socket) -> bool:
    """Have the kernel refuse messages with descriptors to a Unix socket; False where it cannot.

    Who else holds the same open file can undo it.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:  # ENOPROTOOPT
        return False
    return True


class BareSocket(socket.socket):
    """A Unix socket, connected or listening, over which nobody passes descriptors to this process.

    `recv` never waits. After DescriptorsAttachedError there is nothing to do but to close.
    """

    __slots__ = ("_refuses",)

    def __init__(
        self,
        family: int = socket.AF_UNIX,
        type: int = socket.SOCK_STREAM,  # noqa: A002 - as the base class has it
        proto: int = 0,
        fileno: int | None = None,
    ) -> None:
        """As the base class; descriptors are refused before anybody can connect or send."""
        super().__init__(family, type, proto, fileno)
        self._refuses = refuse_descriptors(self)
        if not self._refuses:
            # A byte out of band is one among others. Otherwise recv would skip it, and receive
            # what was sent after the look.
            self.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)

    @classmethod
    def around(cls, sock: socket.socket) -> Self:
        """The same open socket, taken away from `sock`."""
        return cls(sock.family, sock.type, sock.proto, sock.detach())

    def accept(self) -> tuple["BareSocket", object]:
        """As the base class; what is accepted is bare too."""
        connection, address = super().accept()
        return BareSocket.around(connection), address

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """As the base class, and DescriptorsAttachedError for a message that carries any."""
        flags |= socket.MSG_DONTWAIT
        if not self._refuses:
            seen, _, found, _ = self.recvmsg(size, 0, flags | socket.MSG_PEEK)
            if found & socket.MSG_CTRUNC:
                raise DescriptorsAttachedError
            # No more than was seen: on a stream there may be more by now. One for a message of no
            # bytes, and for the end.
            size = len(seen) or 1
        return super().recv(size, flags)

    def close(self) -> None:
        """As the base class, or by a child, perhaps a moment later.

        Where no child can be had, the descriptor is lost, which is better than to wait.
        """
        if self._refuses or self.fileno() < 0 or self._has_ended():
            super().close()
        else:
            number = self.detach()
            with contextlib.suppress(OSError):
                dispose([number])

    def _has_ended(self) -> bool:
        """Whether nothing waits in a connection, and nothing will; what does is thrown away."""
        if self.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RD)
            # An empty message looks like the end of a SEQPACKET socket, but somebody sent it.
            self.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            return any(self._throw_away() for _ in range(_LEFT_OVER_PIECES))
        return False

    def _throw_away(self) -> bool:
        """Receive what comes next; True at the end."""
        flags = socket.MSG_DONTWAIT | socket.MSG_PEEK
        seen, senders, found, _ = self.recvmsg(_LEFT_OVER_BYTES, _CREDENTIALS_BYTES, flags)
        if found & socket.MSG_CTRUNC:
            raise DescriptorsAttachedError
        super().recv(len(seen) or 1, socket.MSG_DONTWAIT)
        return not seen and (not senders or self.type == socket.SOCK_STREAM)
