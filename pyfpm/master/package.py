"""The folder of this very package, as a descriptor that every pool gets (DESIGN 1)."""

import os

import pyfpm
from pyfpm.kernel.mounts import open_detached


def open_package() -> int:
    """An O_PATH descriptor; where the kernel and the master's privileges allow, no way out of it.

    A plain descriptor of a folder lets its holder open what lies beside it, as far as the modes of
    those files allow: past the folders above that would have stopped it, and out of a chroot.
    """
    folder = os.path.dirname(pyfpm.__file__)
    try:
        return open_detached(folder)
    except OSError:
        return os.open(folder, os.O_PATH | os.O_CLOEXEC)
