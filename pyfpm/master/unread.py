"""What ended processes of a pool were sent and never read, and who holds it still.

Descriptors that wait in a Unix socket are *in flight*. The kernel counts them for the sender's
user, whoever the receiver is, and refuses more than RLIMIT_NOFILE of them (ETOOMANYREFS) to a
sender without CAP_SYS_RESOURCE and CAP_SYS_ADMIN, as in a container of Docker's (Linux 6.18,
net/core/scm.c). So whoever leaves enough of them unread keeps the master from starting workers of
any pool.

They go when the last holder of the other end closes it, which is the end of the process, as a rule.
A child that it has left behind may hold it for ever, and nothing that is done to our end takes back
what lies there (shutdown(2) and close(2) leave it). But our end tells how much that is (SIOCOUTQ).
So the sockets that are not empty are kept, shut down, until they are; and a pool of which too much
lies there gets no more workers.
"""

import socket

from pyfpm.kernel.descriptors import undelivered_bytes

LEFT_MOST = 20
"""In descriptors: one zygote that never read its orders is forgiven, a second one is not."""


class Unread:
    """Of one pool."""

    def __init__(self) -> None:
        self._left: list[tuple[socket.socket, int]] = []

    def keep(self, sock: socket.socket, descriptors: int) -> None:
        """Watch over a socket that is shut down, in which so many descriptors lie at most."""
        self._left.append((sock, descriptors))

    @property
    def descriptors(self) -> int:
        """How many lie there now, at most."""
        for sock, _ in self._left:
            if not undelivered_bytes(sock.fileno()):
                sock.close()
        self._left = [left for left in self._left if left[0].fileno() >= 0]
        return sum(descriptors for _, descriptors in self._left)

    def close(self) -> None:
        """The pool has ended."""
        for sock, _ in self._left:
            sock.close()
        self._left.clear()
