"""Shared memory that nobody can pull away from under its readers.

A memfd that one process truncates kills every other process that touches the lost pages with
SIGBUS. Sealed against shrinking and growing it cannot be truncated by anybody, root included.
"""

import fcntl
import mmap
import os

_F_SEAL_FUTURE_WRITE = 0x10  # linux/fcntl.h; Python 3.11's fcntl does not name it


def create_sealed(name: str, size: int) -> int:
    """A descriptor of `size` zero bytes, sealed against SHRINK and GROW, close-on-exec."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def seal_seals(descriptor: int) -> None:
    """No seal can be added any more; sealed against writing, no later process could map it."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)


def seal_future_write(descriptor: int) -> None:
    """Mappings that exist keep their write access; no new writable one can be made."""
    seals = _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)


def create_sealed_copy(name: str, content: bytes) -> int:
    """A memfd that holds `content` for ever: no write, no resize."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def map_shared(descriptor: int, size: int, *, writable: bool) -> memoryview:
    """The memory of `descriptor` as a buffer shared with everybody who maps it."""
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return memoryview(mmap.mmap(descriptor, size, mmap.MAP_SHARED, protection))
