"""A FUSE mount of two links, for one program: `python fuse_links.py FOLDER MOUNTER PROGRAM ...`.

In it are `folder`, and the links `roots` and `theirs` to it, of root and of the user THEIRS, if one
believes the server; MOUNTER is the user who made the mount, if one believes the kernel. To be run
in a mount namespace of its own, so that the mount goes with it.
"""

import ctypes
import os
import struct
import subprocess
import sys
import threading

THEIRS = 12345
NO_MOUNT = 75
_MS_NOSUID_NODEV = 2 | 4
_LOOKUP, _FORGET, _GETATTR, _READLINK, _INIT, _BATCH_FORGET = 1, 2, 3, 5, 26, 42
_ROOT, _FOLDER, _ROOTS, _THEIRS = 1, 2, 3, 4
_NAMES = {b"folder": _FOLDER, b"roots": _ROOTS, b"theirs": _THEIRS}
_FILES = {  # mode and owner
    _ROOT: (0o040755, 0),
    _FOLDER: (0o040755, 0),
    _ROOTS: (0o120777, 0),
    _THEIRS: (0o120777, THEIRS),
}
_ENOENT, _ENOSYS = -2, -38


def _attributes(node: int) -> bytes:
    mode, uid = _FILES[node]
    return struct.pack("<6Q3I7I", node, *[0] * 5, *[0] * 3, mode, 1, uid, uid, 0, 4096, 0)


def _answer(operation: int, node: int, body: bytes) -> tuple[int, bytes]:
    if operation == _INIT:
        return 0, struct.pack("<4I2H2I2H7I", 7, 31, 4096, 0, 10, 9, 4096, 1, 0, 0, *[0] * 7)
    if operation == _LOOKUP:
        found = _NAMES.get(body.rstrip(b"\0"))
        if node != _ROOT or found is None:
            return _ENOENT, b""
        return 0, struct.pack("<4Q2I", found, *[0] * 5) + _attributes(found)
    if operation == _GETATTR:
        return 0, bytes(16) + _attributes(node)
    if operation == _READLINK:
        return 0, b"folder"
    return _ENOSYS, b""


def _serve(device: int) -> None:
    while True:
        request = os.read(device, 65536)
        _, operation, unique, node = struct.unpack_from("<IIQQ", request)
        if operation not in (_FORGET, _BATCH_FORGET):
            error, body = _answer(operation, node, request[40:])
            os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


def main() -> int:
    """Mount, run the program, and end with its code; NO_MOUNT where nothing can be mounted."""
    folder, mounter, *program = sys.argv[1:]
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        return NO_MOUNT
    options = f"fd={device},rootmode=40000,user_id={mounter},group_id=0,allow_other"
    mounted = ctypes.CDLL(None).mount(
        b"links", os.fsencode(folder), b"fuse.links", _MS_NOSUID_NODEV, options.encode()
    )
    if mounted != 0:
        return NO_MOUNT
    threading.Thread(target=_serve, args=(device,), daemon=True).start()
    return subprocess.call(program)


if __name__ == "__main__":
    sys.exit(main())
