"""Passing descriptors over Unix sockets, and counting what waits there."""

import array
import fcntl
import socket
import struct
import termios

_INT = struct.Struct("=i")
_MAX_DESCRIPTORS = 8


def send_with_descriptors(sender: socket.socket, data: bytes, descriptors: list[int]) -> None:
    """Send one message with `descriptors` attached; OSError as sendmsg(2)."""
    rights = array.array("i", descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
    sender.sendmsg([data], ancillary)


def receive_with_descriptors(
    receiver: socket.socket, size: int, most: int = _MAX_DESCRIPTORS
) -> tuple[bytes, list[int], bool]:
    """One message, the descriptors that came with it, and whether some were lost (MSG_CTRUNC).

    The descriptors are close-on-exec and belong to the caller; there are at most `most`.
    """
    # CMSG_SPACE rounds up to eight bytes, and the kernel would fill the rest with one more.
    data, ancillary, flags, _ = receiver.recvmsg(
        size, socket.CMSG_LEN(most * _INT.size), socket.MSG_CMSG_CLOEXEC
    )
    descriptors: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(payload) - len(payload) % _INT.size
            descriptors += [number for (number,) in _INT.iter_unpack(payload[:whole])]
    return data, descriptors, bool(flags & socket.MSG_CTRUNC)


def unread_bytes(descriptor: int) -> int:
    """Bytes that wait to be received (FIONREAD).

    On a SEQPACKET socket the kernel adds up all queued messages, so with one-byte messages this
    counts them (Linux 6.18, net/unix).
    """
    answer: int = _INT.unpack(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(_INT.size)))[0]
    return answer
