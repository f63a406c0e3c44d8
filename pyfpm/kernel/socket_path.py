"""Unix sockets as files: made, given away and removed without following anybody else's links.

A socket is bound under its final name to a file that nobody may connect to. Only when it listens
does the file get its owner, and last its mode. So there is no instant in which somebody could
connect who may not do so in the end, nor one in which an entitled client finds the socket deaf.

Why not bind under a temporary name and rename: the kernel keeps the name of the bind for good, and
`ss -xl`, `lsof` and /proc/net/unix would show a path that does not exist; a rename replaces
whatever stands at the target, a live socket too. What a rename would save, the instant of mode 0,
falls into a time when nobody answers at that path anyway.

Why not by path: in a folder that another user can write, a path is his to change between two
system calls. So the file is opened once (O_PATH, O_NOFOLLOW), compared with what the kernel says
the socket is bound to, and changed through that descriptor.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator

from pyfpm.errors import SpawnError
from pyfpm.kernel.bare_socket import BareSocket
from pyfpm.kernel.sock_diag import read_file_inode
from pyfpm.kernel.steps import FileIdentity


def clear_stale_socket(path: str) -> None:
    """Remove a socket file that nobody listens on.

    SpawnError if somebody does, or if the file is no socket; nothing happens where no file is.
    """
    try:
        before = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(before.st_mode):
        raise SpawnError("a file that is no socket stands there: remove it or listen elsewhere")
    if is_answered(path):
        raise SpawnError("another server answers there: stop it or listen elsewhere")
    # If another master replaces the stale socket between the look and the unlink, its new file is
    # left alone: it has another inode. What remains is the instant between these two lines.
    after = os.lstat(path)
    if (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino):
        os.unlink(path)


def answering_pid(path: str) -> int | None:
    """The process that called listen(2) on the Unix socket `path`; None where that is unknown."""
    with BareSocket() as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != 0:
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    # struct ucred: pid, uid, gid; the pid is 0 for a process of another pid namespace.
    pid, _, _ = struct.unpack("iII", credentials)
    return int(pid) or None


def is_answered(path: str) -> bool:
    """Whether a server listens on the Unix socket `path`; OSError where that cannot be told."""
    with BareSocket() as probe:
        probe.setblocking(False)  # a full backlog is EAGAIN, which is somebody's backlog
        code = probe.connect_ex(path)
    if code in (errno.ECONNREFUSED, errno.ENOENT):
        return False
    if code in (0, errno.EAGAIN):
        return True
    raise OSError(code, os.strerror(code))


def bind_closed(sock: socket.socket, path: str) -> FileIdentity:
    """Bind to a new file of mode 0, which `change_access` opens later; what file that is.

    OSError as bind(2), and where somebody has replaced the file already.
    """
    # The umask is the process's, and pyfpm binds where it has a single thread. Where the folder
    # has a default access list the kernel asks the socket's own mode instead (posix_acl_create).
    umask = os.umask(0o777)
    try:
        os.fchmod(sock.fileno(), 0)
        sock.bind(path)
    finally:
        os.umask(umask)
    facts = os.lstat(path)
    if not stat.S_ISSOCK(facts.st_mode) or not _is_bound_to(sock, facts.st_ino):
        raise FileNotFoundError(errno.ENOENT, "its file has been replaced")
    return facts.st_dev, facts.st_ino


def change_access(
    path: str, identity: FileIdentity, mode: int, owner: tuple[int, int] | None
) -> None:
    """Give the file of a bound socket a mode and, unless None, an owner (uid, gid; -1 stays).

    `identity` is its device and inode: no symbolic link that somebody put in its place is followed.
    At no moment does it admit anybody whom neither the old settings admit nor the new ones. OSError
    where it is not possible, with what it takes where that is a capability.
    """
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(found)
        if (facts.st_dev, facts.st_ino) != identity:
            raise FileNotFoundError(errno.ENOENT, "its file has been replaced")
        itself = f"/proc/self/fd/{found}"
        before = stat.S_IMODE(facts.st_mode)
        if owner is not None and _differs(owner, (facts.st_uid, facts.st_gid)):
            # In between the bits of one mode would meet the owner of the other. Only what both
            # modes allow is safe then.
            _set_mode(itself, before, before & mode)
            before &= mode
            with _naming("change its owner or group", "CAP_CHOWN"):
                os.chown(itself, *owner)
        with _naming("change its mode", "CAP_FOWNER"):  # since it may be another user's by now
            _set_mode(itself, before, mode)
    finally:
        os.close(found)


def remove_file(path: str, identity: FileIdentity) -> None:
    """Unlink the file of a socket of ours, unless it is gone or another one stands there by now."""
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == identity:
            os.unlink(path)


@contextlib.contextmanager
def _naming(step: str, capability: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        reason = f"{step}: {error.strerror}: that takes {capability}"
        raise PermissionError(error.errno, reason) from error


def _is_bound_to(sock: socket.socket, inode: int) -> bool:
    try:
        return read_file_inode(sock) == inode & 0xFFFFFFFF
    except OSError:  # a kernel without sock_diag for Unix sockets: take the path's word
        return True


def _differs(wanted: tuple[int, int], found: tuple[int, int]) -> bool:
    return any(new not in (-1, old) for new, old in zip(wanted, found, strict=True))


def _set_mode(path: str, before: int, mode: int) -> None:
    if mode != before:
        os.chmod(path, mode)
