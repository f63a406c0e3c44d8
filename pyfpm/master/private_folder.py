"""The private temporary folder of a sandboxed pool, where its TMPDIR points.

The master makes it, gives it to the pool's user, and removes it with the pool; generations of
the same user share it, so that a reload loses nothing. It lives where the master's own temporary
files would: /tmp, or its $TMPDIR. (/run would be safer from other users, but is memory that the
system itself needs: one upload could fill it.)

The master holds the folder open with a lock (flock) for as long as it is in use. The lock says two
things: to systemd-tmpfiles, that it is not to be cleaned away for its age; and to a later master
that finds a folder without one, that the master who made it was killed, and that it may go.

    made under another name, locked, given away, then renamed: whoever sees the name, sees the lock

The pool's user owns the folder and may mount something on it (FUSE). So the master never asks what
stands at the path, only what it holds or what lies on the mount that it expects: a FUSE server that
does not answer would stop it for ever.
"""

import asyncio
import contextlib
import fcntl
import itertools
import os
import re
import secrets
import signal
import tempfile
from collections.abc import Iterator
from typing import NoReturn

from pyfpm.errors import PyfpmError
from pyfpm.kernel.forking import fork
from pyfpm.kernel.listing import first_names
from pyfpm.kernel.mounts import mount_of
from pyfpm.kernel.pidfd import open_child, send_signal
from pyfpm.kernel.removal import open_on_same_mount, remove_tree
from pyfpm.logs import Log
from pyfpm.master.identity import Identity
from pyfpm.master.launch import reset_signals
from pyfpm.master.reaper import Death, Reaper
from pyfpm.master.state import SavedFolder

_REMOVAL_S = 5.0
_DEATH_S = 2.0  # a process that waits for a FUSE server does not even die
# Each is a process, and anybody may have made as many folders of such a name as he likes, and as
# many files beside them: the master has milliseconds for that. What is not found among so many
# names stays for systemd-tmpfiles, which it is not locked against any more.
_MOST_ABANDONED = 16
_MOST_LOOKED_AT = 200
_MOST_NAMES = 10_000
_PREFIX = "pyfpm-tmp-"
_RANDOM_BYTES = 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class PrivateFolderError(PyfpmError):
    """The private temporary folder of a pool cannot be made."""


class PrivateFolder:
    """One folder of one pool; `path` is where it is now.

    `root` is the pool's root folder where it has one of its own: there it lives in /tmp.
    """

    def __init__(
        self,
        pool: str,
        identity: Identity,
        reaper: Reaper,
        root: str = "",
        saved: SavedFolder | None = None,
    ) -> None:
        """Make it, or hold on to the one of the master before an exec; PrivateFolderError."""
        self._pool = pool
        self._root = root
        self._owner = (identity.uid, identity.gid)
        self._groups = identity.groups
        self._reaper = reaper
        self._gone: asyncio.Future[None] | None = None
        if saved is None:
            self._make()
        else:
            self.path, self.descriptor = saved.path, saved.descriptor

    @property
    def path_inside(self) -> str:
        """Where the pool's processes find it."""
        return "/" + self.path.removeprefix(self._root).lstrip("/")

    def save(self) -> SavedFolder:
        """For the next master."""
        return SavedFolder(self.path, self.descriptor)

    def is_for(self, identity: Identity, root: str) -> bool:
        """Whether it will do for a pool of this user and group, with this root."""
        return self._owner == (identity.uid, identity.gid) and self._root == root

    def ensure(self) -> None:
        """Make it anew where somebody has removed it; PrivateFolderError."""
        with contextlib.suppress(OSError):  # it is gone
            if self._is_in_place():
                return
            text = f"something else is in the place of {self.path}: the pool gets another folder"
            Log(self._pool).warning("temporary_folder", text)
        lost = self.descriptor
        self._make()
        os.close(lost)

    def _is_in_place(self) -> bool:
        place = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if mount_of(place) != mount_of(self.descriptor):
                return False
            found, held = os.fstat(place), os.fstat(self.descriptor)
            return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)
        finally:
            os.close(place)

    def _make(self) -> None:
        # Within a root of its own no link is followed: what stands there is another's to choose.
        base = os.path.realpath(tempfile.gettempdir())
        if self._root:
            base = os.path.join(self._root, "tmp")
        try:
            base_fd = os.open(base, _FOLDER)
            try:
                for name in itertools.islice(self._abandoned(base_fd), _MOST_ABANDONED):
                    self._remove(os.path.join(base, name))
                name = f"{_PREFIX}{self._pool}-{secrets.token_hex(_RANDOM_BYTES)}"
                self.descriptor = self._make_in(base_fd, name)
            finally:
                os.close(base_fd)
        except OSError as error:
            raise PrivateFolderError(
                f"make a private temporary folder in {base}: {error.strerror}"
            ) from error
        self.path = os.path.join(base, name)

    def _make_in(self, base_fd: int, name: str) -> int:
        hidden = f".new-{name}"
        os.mkdir(hidden, 0o700, dir_fd=base_fd)
        try:
            descriptor = os.open(hidden, _FOLDER, dir_fd=base_fd)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                os.fchmod(descriptor, 0o700)  # the umask may have taken something away
                uid, gid = self._owner
                if uid is not None and gid is not None:
                    os.fchown(descriptor, uid, gid)
                os.rename(hidden, name, src_dir_fd=base_fd, dst_dir_fd=base_fd)
            except OSError:
                os.close(descriptor)
                raise
        except OSError:
            os.rmdir(hidden, dir_fd=base_fd)
            raise
        return descriptor

    def _abandoned(self, base_fd: int) -> Iterator[str]:
        """What masters that were killed have left of this pool."""
        pattern = re.compile(rf"{_PREFIX}{re.escape(self._pool)}-[0-9a-f]{{{2 * _RANDOM_BYTES}}}")
        uid = os.geteuid() if self._owner[0] is None else self._owner[0]
        named = filter(pattern.fullmatch, first_names(base_fd, _MOST_NAMES))
        for name in itertools.islice(named, _MOST_LOOKED_AT):
            with contextlib.suppress(OSError):  # gone meanwhile, locked, or a mount
                descriptor = open_on_same_mount(name, base_fd)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    owner = os.fstat(descriptor).st_uid
                finally:
                    os.close(descriptor)
                if owner == uid:  # somebody else's folder of such a name is none of ours
                    yield name

    # -- the end ----------------------------------------------------------------------------

    def remove(self) -> asyncio.Future[None]:
        """Begin to remove it with all that is in it; the future ends when that is done.

        A process of the pool's user does it: there may be millions of files, for which the master
        has no time, and none of them is worth root's rights.
        """
        if self._gone is None:
            self._gone = self._remove(self.path)
            os.close(self.descriptor)
        return self._gone

    def _remove(self, path: str) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        gone: asyncio.Future[None] = loop.create_future()
        try:
            pid = fork(lambda: _be_remover(path, self._owner, self._groups))
        except OSError as error:
            self._complain(path, f": {error.strerror}")
            gone.set_result(None)
            return gone
        # No death is missed: only the loop reaps, and it does not turn between the fork and here.
        pidfd = open_child(pid)
        timers = [
            loop.call_later(_REMOVAL_S, lambda: _kill(pidfd)),
            loop.call_later(_REMOVAL_S + _DEATH_S, lambda: self._removed(path, gone)),
        ]

        def ended(death: Death) -> None:
            del death
            for timer in timers:
                timer.cancel()
            if pidfd is not None:
                os.close(pidfd)
            self._removed(path, gone)

        self._reaper.watch(pid, ended)
        return gone

    def _removed(self, path: str, gone: asyncio.Future[None]) -> None:
        """The remover has ended, or will not end: say so where it has left something."""
        if gone.done():
            return
        try:
            os.rmdir(path)  # empty, in a folder that the user cannot write
        except FileNotFoundError:
            pass
        except OSError:
            self._complain(path)
        gone.set_result(None)

    def _complain(self, path: str, reason: str = "") -> None:
        text = f"temporary folder {path} could not be removed{reason}: remove it"
        Log(self._pool).warning("temporary_folder", text)


def _kill(pidfd: int | None) -> None:
    if pidfd is not None:
        send_signal(pidfd, signal.SIGKILL)


def _be_remover(
    path: str, owner: tuple[int | None, int | None], groups: tuple[int, ...]
) -> NoReturn:
    try:
        reset_signals()
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                with contextlib.suppress(OSError):  # the one that the list was read from
                    os.close(int(name))
        uid, gid = owner
        if uid is not None and gid is not None:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        remove_tree(path)
    finally:
        os._exit(0)
