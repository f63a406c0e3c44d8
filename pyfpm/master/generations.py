"""The generations of a pool: the current one, perhaps one on trial, and older ones that drain."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pyfpm.config import LogFormat, PoolOptions, Sandbox
from pyfpm.logs import Log, SlowLog
from pyfpm.master.access_log import AccessLog
from pyfpm.master.boots import PoolBoots
from pyfpm.master.generation import Generation
from pyfpm.master.handles import WorkerHandle
from pyfpm.master.identity import Identity, find_uid
from pyfpm.master.listeners import Listener
from pyfpm.master.private_folder import PrivateFolder
from pyfpm.master.processes import Processes
from pyfpm.master.setting import Setting
from pyfpm.master.shared import HandOffChannel
from pyfpm.master.state import SavedFolder, SavedGeneration
from pyfpm.master.view import limits_of
from pyfpm.master.zygotes import ZygoteKeeper

if TYPE_CHECKING:
    from pyfpm.master.pool import Pool


class Generations:
    """Makes generations, and keeps each until its last process has ended."""

    def __init__(
        self,
        pool: "Pool",
        setting: Setting,
        options: PoolOptions,
        identity: Identity,
        listeners: Sequence[Listener],
        *,
        channel: HandOffChannel | None = None,
        saved: SavedGeneration | None = None,
    ) -> None:
        """Begin with the first one; PyfpmError if a log of its own cannot be opened.

        `saved` is that one as the master before an exec left it.
        """
        self._pool = pool
        self._setting = setting
        self.disposal = setting.disposals.of(options.name)
        self._older: list[Generation] = []
        self.trial: Generation | None = None
        self._folders: list[PrivateFolder] = []
        channel = channel or HandOffChannel()
        number = 1 if saved is None else saved.number
        with ExitStack() as undo:  # a pool that cannot be opened is tried again and again
            undo.callback(channel.close)
            undo.callback(pool.memory.discard)
            self.current = self._make(number, options, identity, listeners, channel, saved)
            undo.pop_all()

    def __iter__(self) -> Iterator[Generation]:
        """Every one that may have processes, the current one first."""
        yield self.current
        if self.trial is not None:
            yield self.trial
        yield from self._older

    def succeed(
        self, options: PoolOptions, identity: Identity, listeners: Sequence[Listener]
    ) -> Generation:
        """The next one, which has started nothing yet; PyfpmError as at the beginning.

        It shares the hand-off channel with the current one where it may.
        """
        number = max(generation.number for generation in self) + 1
        new = self._make(number, options, identity, listeners, self.current.channel)
        if not new.may_share_channel(self.current):
            self._release(new)
            new = self._make(number, options, identity, listeners, HandOffChannel())
        return new

    def become(self, generation: Generation) -> None:
        """Make `generation` the current one."""
        self._older = [old for old in self if old not in (generation, self.trial)]
        self.trial = None
        self.current = generation

    def leave(self, generation: Generation) -> None:
        """Let go of one that is not to be, once its last process has ended."""
        if self.trial is generation:
            self.trial = None
        if generation not in self._older:
            self._older.append(generation)

    def add_older(
        self,
        number: int,
        options: PoolOptions,
        identity: Identity,
        listeners: Sequence[Listener],
        channel: HandOffChannel,
        saved: SavedGeneration,
    ) -> Generation:
        """One that the master before an exec had beside the current one."""
        older = self._make(number, options, identity, listeners, channel, saved)
        self._older.append(older)
        return older

    def forget_ended(self, workers: Iterable[WorkerHandle]) -> None:
        """Let go of older ones that have no process any more."""
        used = {id(worker.generation) for worker in workers}
        for old in self._older[:]:
            if id(old) not in used and old.zygotes.zygote is None and old.zygotes.stopped:
                self._older.remove(old)
                self._release(old)
                if not any(other.channel is old.channel for other in self):
                    self.disposal.give_up(*old.channel.release())

    def mind_access_logs(self, workers: Iterable[WorkerHandle]) -> None:
        """Have workers that could not be told of a rotation hear of it now."""
        for generation in self:
            if generation.access_log is not None:
                generation.access_log.catch_up(w for w in workers if w.generation is generation)

    async def remove_folders(self) -> None:
        """Remove the temporary files of all of them; their processes have ended."""
        for folder in self._folders:
            await folder.remove()

    def close(self) -> None:
        """Close what the master holds for all of them; their processes have ended."""
        for generation in self:
            generation.close_logs()
            if generation.channel.send.fileno() >= 0:
                self.disposal.give_up(*generation.channel.release())
            for listener in generation.listeners:
                listener.give_up(self.disposal)
        for folder in self._folders:
            folder.remove()

    def _release(self, gone: Generation) -> None:
        """Give back what a generation that is none of these any more has alone."""
        gone.close_logs()
        if gone.folder is not None and all(other.folder is not gone.folder for other in self):
            self._folders.remove(gone.folder)
            gone.folder.remove()

    def _make(
        self,
        number: int,
        options: PoolOptions,
        identity: Identity,
        listeners: Sequence[Listener],
        channel: HandOffChannel,
        saved: SavedGeneration | None = None,
    ) -> Generation:
        pool, setting = self._pool, self._setting
        allowed_uids = tuple(sorted({find_uid(name) for name in options.listen_allowed_users}))
        json = setting.main.log_format is LogFormat.JSON
        with ExitStack() as undo:
            slow_log = SlowLog(options.slowlog, options.name, json=json)
            undo.callback(slow_log.close)
            access_log = _open_access_log(options, None if saved is None else saved.access_log)
            if access_log is not None:
                undo.callback(access_log.close)
            folder = self._find_folder(options, identity, None if saved is None else saved.folder)
            undo.pop_all()
        processes = Processes(
            options,
            identity,
            listeners,
            allowed_uids,
            channel,
            pool.memory,
            setting,
            pool.workers.flow,
            pool.workers.messages,
            access_log,
            folder,
        )
        generation = Generation(
            number,
            options,
            identity,
            listeners,
            channel,
            slow_log,
            access_log,
            processes,
            limits_of(options),
            PoolBoots(pool, number, options),
            allowed_uids,
            folder,
        )
        generation.zygotes = ZygoteKeeper(
            generation,
            setting.reaper,
            Log(options.name),
            emit=lambda stream, lines: pool.print_of_zygote(generation, stream, lines),
            on_claim=pool.workers.claim,
            on_spawn_failed=pool.workers.failed_to_fork,
            on_ended=lambda zygote: pool.zygote_ended(generation, zygote),
            look=pool.look,
        )
        return generation

    def _find_folder(
        self, options: PoolOptions, identity: Identity, saved: SavedFolder | None
    ) -> PrivateFolder | None:
        """A sandboxed pool's: that of the current generation, where it may be shared.

        Not that of an older one, which may be about to go. PrivateFolderError where there is none
        to be had.
        """
        if options.sandbox is Sandbox.OFF:
            return None
        known = {folder.descriptor: folder for folder in self._folders}
        if saved is not None and saved.descriptor in known:
            return known[saved.descriptor]
        root = options.chroot or ""
        current = self.current.folder if saved is None and known else None
        if current is not None and current.is_for(identity, root):
            return current
        folder = PrivateFolder(self._pool.name, identity, self._setting.reaper, root, saved)
        self._folders.append(folder)
        return folder


def _open_access_log(options: PoolOptions, saved: int | None) -> AccessLog | None:
    if options.access_log is None:
        return None
    return AccessLog(options.access_log, Log(options.name), saved)
