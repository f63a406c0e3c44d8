"""A FUSE mount whose server takes requests and never answers."""

import ctypes
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path

import pytest

MS_NOSUID_NODEV, MNT_FORCE, MNT_DETACH = 6, 1, 2
libc = ctypes.CDLL(None, use_errno=True)


class DeafFuse:
    """Whoever asks it, waits, until `close`."""

    def __init__(self, folder: Path) -> None:
        self.device = os.open("/dev/fuse", os.O_RDWR)
        self.folder = folder
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if libc.mount(
            b"deaf", os.fsencode(folder), b"fuse.deaf", MS_NOSUID_NODEV, options.encode()
        ):
            os.close(self.device)
            pytest.skip("no FUSE mounts can be made here")
        head = os.read(self.device, 65536)  # FUSE_INIT
        unique = struct.unpack_from("<Q", head, 8)[0]
        body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 12, 10, 4096, 0, 0, 0, 0)
        os.write(self.device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        with suppress(OSError):
            while os.read(self.device, 65536):
                pass

    def close(self) -> None:
        """Every request that waits ends with an error."""
        for flag in (MNT_FORCE, MNT_DETACH):
            libc.umount2(os.fsencode(self.folder), flag)
        self.thread.join(10)
        os.close(self.device)
