"""A FUSE mount of one file that only its friends can close: `python fuse_flush.py FOLDER SOCKET`.

Whoever connects to SOCKET is a friend, and gets the file, open. The close by anybody else is never
answered (FUSE_FLUSH), nor is a look at the file, until standard input ends. To be run in a mount
namespace of its own, so that the mount goes with it.
"""

import ctypes
import os
import socket
import struct
import sys
import threading

NO_MOUNT = 75
_MS_NOSUID_NODEV = 2 | 4
_LOOKUP, _FORGET, _GETATTR, _OPEN = 1, 2, 3, 14
_RELEASE, _FLUSH, _INIT, _BATCH_FORGET = 18, 25, 26, 42
_ROOT, _FILE = 1, 2
_ENOSYS = -38


def _attributes(node: int) -> bytes:
    mode = 0o040755 if node == _ROOT else 0o100666
    return struct.pack("<6Q3I7I", node, *[0] * 5, *[0] * 3, mode, 1, 0, 0, 0, 4096, 0)


def _answer(operation: int, node: int) -> tuple[int, bytes]:
    if operation == _INIT:
        return 0, struct.pack("<4I2H2I2H7I", 7, 31, 4096, 0, 10, 9, 4096, 1, 0, 0, *[0] * 7)
    if operation == _LOOKUP:
        return 0, struct.pack("<4Q2I", _FILE, *[0] * 5) + _attributes(_FILE)
    if operation == _GETATTR:
        return 0, bytes(16) + _attributes(node)
    if operation in (_OPEN, _RELEASE, _FLUSH):
        return 0, bytes(16) if operation == _OPEN else b""
    return _ENOSYS, b""


def _serve(device: int, friends: set[int]) -> None:
    while True:
        request = os.read(device, 65536)
        _, operation, unique, node, _, _, pid = struct.unpack_from("<IIQQIII", request)
        if operation in (_FORGET, _BATCH_FORGET):
            continue
        if operation in (_FLUSH, _GETATTR) and node == _FILE and pid not in friends:
            continue
        error, body = _answer(operation, node)
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


def main() -> int:
    """Mount, say so, and give the file to whoever asks; NO_MOUNT where nothing can be mounted."""
    folder, address = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    os.chmod(address, 0o666)
    listener.listen()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError:
        return NO_MOUNT
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    mounted = ctypes.CDLL(None).mount(
        b"flush", os.fsencode(folder), b"fuse.flush", _MS_NOSUID_NODEV, options.encode()
    )
    if mounted != 0:
        return NO_MOUNT
    friends = {os.getpid()}
    threading.Thread(target=_serve, args=(device, friends), daemon=True).start()

    def give() -> None:
        friends.add(threading.get_native_id())  # the kernel names the thread that asks
        while True:
            peer, _ = listener.accept()
            friends.add(
                struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            )
            file = os.open(f"{folder}/file", os.O_RDWR)
            socket.send_fds(peer, [b"f"], [file])
            os.close(file)  # not at the end, when nobody answers any more
            peer.close()

    threading.Thread(target=give, daemon=True).start()
    print("mounted", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
