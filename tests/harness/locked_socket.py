"""A TCP connection that somebody keeps locked: who asks it something waits, whatever the signal.

It sends from memory that is not there, and that nobody provides (userfaultfd, for root); a tenant
does the same with a file of its own FUSE mount.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import struct
import threading

_USERFAULTFD = {"x86_64": 323, "aarch64": 282}
_UFFDIO_API, _UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
_MISSING = 1


def lock(descriptor: int) -> int | None:
    """Lock the connection until the descriptor that this returns is closed; None where not."""
    libc = ctypes.CDLL(None)
    number = _USERFAULTFD.get(platform.machine())
    faults = -1 if number is None else libc.syscall(number, os.O_CLOEXEC)
    if faults < 0:
        return None
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(faults, _UFFDIO_API, bytearray(struct.pack("3Q", 0xAA, 0, 0)))
    wanted = struct.pack("4Q", address, mmap.PAGESIZE, _MISSING, 0)
    fcntl.ioctl(faults, _UFFDIO_REGISTER, bytearray(wanted))

    def send() -> None:
        libc.send(descriptor, ctypes.c_void_p(address), mmap.PAGESIZE, 0)
        del memory_kept[:]

    memory_kept = [memory]
    threading.Thread(target=send, daemon=True).start()
    return faults
