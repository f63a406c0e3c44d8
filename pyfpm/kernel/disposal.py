"""Closing sockets that somebody else can have prepared, without waiting for what that takes.

Whoever closes a socket last does what is left to do with it, and that may take as long as another
likes, whatever O_NONBLOCK says:

* a TCP connection with unsent data, a peer that does not read and SO_LINGER: up to 18 hours;
* a Unix socket, listening ones too: what is attached to messages in its queue is let go of, such
  connections for example, or a file on a FUSE mount that has dirty pages.

To ask the socket first would not do: who holds a duplicate can set the option between the question
and the close. So another process is the last one. A child of a fork has every descriptor too. It
lives until this process has closed its own, and then ends: an exiting process does not linger
(PF_EXITING, Linux 6.18 net/ipv4/af_inet.c). If it waits all the same, it waits alone, and holds
nothing but what was given up: the rest it has closed at the beginning.

Only sockets: each close of a file on a FUSE mount waits for its server (FUSE_FLUSH), no matter who
else has it open. A process that must not wait must never come by such a descriptor.

What may happen in between:
* The child is killed between the fork and the closes here, some microseconds: then a close is the
  last one after all. Who can do that is root, or the kernel that is short of memory; tenants can
  signal no process of root's.
* This process ends: the child reads the end of the pipe as if all were closed, which is true then.
* Another child of this process, of a fork just before, has the descriptors still and closes them as
  the last one: it may wait then, not this process.
"""

import os
from collections.abc import Container, Iterable
from contextlib import suppress
from typing import NoReturn

from pyfpm.kernel.forking import fork


def dispose(descriptors: Iterable[int]) -> int:
    """Close sockets without ever being the one who closes them last; does not wait.

    Returns the pid of a child, which ends by itself, at once as a rule, and is for the caller to
    reap. OSError where there could be no child: then nothing has been closed; try again later.
    """
    doomed = set(descriptors)
    told, tell = os.pipe()
    try:
        pid = fork(lambda: _outlive(doomed, told))
        for descriptor in doomed:
            with suppress(OSError):  # or the caller would believe that there is no child
                os.close(descriptor)
    finally:
        os.close(told)
        os.close(tell)
    return pid


def close_all_but(kept: Container[int]) -> None:
    """Close every descriptor but these, in a child that needs no others.

    One by one: close_range(2) is missing before Linux 5.9 and refused in some containers, and
    os.closerange would then try all two thousand million numbers.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with suppress(OSError):  # the one that the list was read from
                os.close(int(name))


def _outlive(doomed: set[int], told: int) -> NoReturn:
    try:
        close_all_but({*doomed, told})
        os.read(told, 1)
    finally:
        os._exit(0)
