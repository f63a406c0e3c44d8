"""Passing descriptors over Unix sockets, and counting what waits there.

Nothing here waits unless it is told to. O_NONBLOCK would not do: it belongs to the open file, which
all who hold the socket share, so any worker could take it away from the hand-off channel and leave
the master standing in its next call. MSG_DONTWAIT belongs to the call.

Nor does only what was asked for arrive: who holds the socket can have the kernel add to each
message, for SO_PASSPIDFD even a descriptor of its sender's process, and send messages without end.
"""

import array
import contextlib
import fcntl
import os
import select
import socket
import struct
import termios

from pyfpm.errors import ProtocolError

_INT = struct.Struct("=i")
_MAX_DESCRIPTORS = 8
_SCM_PIDFD = 4  # Linux 6.5, include/linux/socket.h
# SO_PASSCRED, SO_TIMESTAMP, SO_PASSSEC, SO_TIMESTAMPNS, SO_PASSPIDFD
_ADDITIONS = (socket.SO_PASSCRED, 29, 34, 35, 76)
_SO_PASSRIGHTS = 83  # Linux 6.16
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
    BlockingIOError where nothing is there, unless it is to `wait`. ProtocolError where something
    else came with it, which takes the place of descriptors: then nothing of it is left open.
    """
    # CMSG_SPACE rounds up to eight bytes, and the kernel would fill the rest with one more.
    how = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
    data, ancillary, flags, _ = receiver.recvmsg(size, socket.CMSG_LEN(most * _INT.size), how)
    descriptors = _numbers(ancillary, socket.SCM_RIGHTS)
    if any(item[:2] != (socket.SOL_SOCKET, socket.SCM_RIGHTS) for item in ancillary):
        for number in descriptors + _numbers(ancillary, _SCM_PIDFD):
            os.close(number)
        raise ProtocolError("something came with a message that was not asked for")
    return data, descriptors, bool(flags & socket.MSG_CTRUNC)


def _numbers(ancillary: list[tuple[int, int, bytes]], wanted: int) -> list[int]:
    """The descriptors in what came with a message."""
    numbers: list[int] = []
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, wanted):
            whole = len(payload) - len(payload) % _INT.size
            numbers += [number for (number,) in _INT.iter_unpack(payload[:whole])]
    return numbers


def is_hung_up(descriptor: int) -> bool:
    """Whether a connected socket is at its end for good.

    On a SEQPACKET socket an empty message reads like an end, and only this tells the two apart.
    """
    poller = select.poll()
    poller.register(descriptor, _ENDS)
    return any(events & _ENDS for _, events in poller.poll(0))


def carries_descriptors_alone(receiver: socket.socket) -> bool:
    """Whether nobody has had the kernel add something to what is received here, or take it away."""
    for option in _ADDITIONS:
        with contextlib.suppress(OSError):  # an older kernel does not know it
            if receiver.getsockopt(socket.SOL_SOCKET, option):
                return False
    with contextlib.suppress(OSError):
        return receiver.getsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS) != 0
    return True


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
