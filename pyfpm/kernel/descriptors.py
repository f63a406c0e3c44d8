"""Passing descriptors over Unix sockets, and counting what waits there.

Nothing here waits unless it is told to. O_NONBLOCK would not do: it belongs to the open file, which
all who hold the socket share, so any worker could take it away from the hand-off channel and leave
the master standing in its next call. MSG_DONTWAIT belongs to the call.
"""

import array
import fcntl
import select
import socket
import struct
import termios

_INT = struct.Struct("=i")
_MAX_DESCRIPTORS = 8
_ENDS = select.POLLHUP | select.POLLRDHUP | select.POLLERR


def send_with_descriptors(sender: socket.socket, data: bytes, descriptors: list[int]) -> None:
    """Send one message with `descriptors` attached; OSError as sendmsg(2), never waiting."""
    rights = array.array("i", descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
    sender.sendmsg([data], ancillary, socket.MSG_DONTWAIT)


def receive_with_descriptors(
    receiver: socket.socket, size: int, most: int = _MAX_DESCRIPTORS, *, wait: bool = False
) -> tuple[bytes, list[int], bool]:
    """One message, the descriptors that came with it, and whether some were lost (MSG_CTRUNC).

    The descriptors are close-on-exec and belong to the caller; there are at most `most`.
    BlockingIOError where nothing is there, unless it is to `wait`.
    """
    # CMSG_SPACE rounds up to eight bytes, and the kernel would fill the rest with one more.
    how = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
    data, ancillary, flags, _ = receiver.recvmsg(size, socket.CMSG_LEN(most * _INT.size), how)
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(payload) - len(payload) % _INT.size
            descriptors += [number for (number,) in _INT.iter_unpack(payload[:whole])]
    return data, descriptors, bool(flags & socket.MSG_CTRUNC)


def is_hung_up(descriptor: int) -> bool:
    """Whether a connected socket is at its end for good.

    On a SEQPACKET socket an empty message reads like an end, and only this tells the two apart.
    """
    poller = select.poll()
    poller.register(descriptor, _ENDS)
    return any(events & _ENDS for _, events in poller.poll(0))


def unread_bytes(descriptor: int) -> int:
    """Bytes that wait to be received (FIONREAD).

    On a SEQPACKET socket the kernel adds up all queued messages, so with one-byte messages this
    counts them (Linux 6.18, net/unix).
    """
    answer: int = _INT.unpack(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(_INT.size)))[0]
    return answer


def undelivered_bytes(descriptor: int) -> int:
    """What was sent and lies unread at the other end, in memory of the kernel's (SIOCOUTQ).

    0 once the last holder of the other end has read or closed it (Linux 6.18, net/unix).
    """
    answer: int = _INT.unpack(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(_INT.size)))[0]
    return answer
