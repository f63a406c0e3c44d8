"""How a new generation of a pool takes over from the old one (DESIGN 6).

trial     a new zygote boots, and one worker of it becomes ready; the old generation serves on
and does not know of it. A failure here ends the reload, and nothing has changed
commit    one step without a pause: new workers come from the new zygote from now on, the
old ones are due, the worker of the trial takes the place of one
takeover  the policy replaces the old workers, within max_children + pm.reload_surge. The old
zygote is still there: where a boot of the new generation fails now, the old one
becomes the current one again, and replaces the new workers in the same way
end       no worker of the old generation takes requests any more; some may still drain
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from pyfpm.config import PoolOptions
from pyfpm.errors import PyfpmError, SpawnError
from pyfpm.logs import Log
from pyfpm.master.endings import RELOAD, RESTART
from pyfpm.master.generation import Generation
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.identity import Identity
from pyfpm.master.listeners import Listener, apply_settings, open_listeners
from pyfpm.master.pool import Pool
from pyfpm.master.report import draining_lines
from pyfpm.policy import Limits
from pyfpm.scoreboard import Stage
from pyfpm.units import counted

_HEARD_S = 5.0
"""One that has not heard of it by then hangs, which is another matter."""
_LOOK_AGAIN_S = 0.005
_ROOM_S = 5.0
_LISTENING = (Stage.BOOTING, Stage.IDLE, Stage.READING)
_DRAINS = (
    "others drain without end and have their places: they follow as these end; set"
    " pm.drain_timeout, or end them by hand"
)

Progress = Callable[[str], None]
"""Takes a line for the operator who waits."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What came of it: the generation that serves, and how many workers still drain."""

    generation: int
    draining: int


async def reload_pool(
    pool: Pool,
    options: PoolOptions,
    identity: Identity,
    progress: Progress,
    spare: Sequence[Listener] = (),
) -> Replaced:
    """Replace the whole pool by a new generation with `options`.

    It takes over those `spare` listeners of pools on their way out that have its addresses.

    SpawnError with the reason, and the traceback if there is one, if the old generation had to
    stay; then it serves as before.
    """
    async with _change_on_request(pool):
        try:
            return await _Succession(pool, progress).run(options, identity, spare)
        finally:
            await pool.generations.disposal.rest()  # so that an address given up is free


async def renew_pool(pool: Pool) -> Replaced:
    """Replace the whole pool by a generation with the options that it has by then."""
    async with pool.changing:
        current = pool.generation
        succession = _Succession(pool, lambda _: None)
        succession.limits = current.limits  # somebody may have scaled it
        return await succession.run(current.options, current.identity, ())


async def restart_pool(pool: Pool, progress: Progress) -> Replaced:
    """Replace all workers by new ones of the same generation; SpawnError where that fails."""
    async with _change_on_request(pool):
        return await _Succession(pool, progress).restart()


@contextlib.asynccontextmanager
async def _change_on_request(pool: Pool) -> AsyncIterator[None]:
    """Change the pool for its operator, who may have the last place of process.max for it."""
    async with pool.changing:
        pool.is_asked_to_change = True
        try:
            yield
        finally:
            pool.is_asked_to_change = False


class _Succession:
    def __init__(self, pool: Pool, progress: Progress) -> None:
        self._pool = pool
        self._progress = progress
        self._failure = ""
        self._spare: Sequence[Listener] = ()
        self.limits: Limits | None = None

    async def run(
        self, options: PoolOptions, identity: Identity, spare: Sequence[Listener]
    ) -> Replaced:
        pool, old = self._pool, self._pool.generation
        most = options.pm_max_children
        pool.check_room(most + options.pm_reload_surge.of(most))
        self._spare = spare
        existing, setting = [*old.listeners, *spare], pool.setting
        listeners = open_listeners(options, identity, existing, setting.passed, setting.hosts)
        try:
            new = pool.generations.succeed(options, identity, listeners)
        except (OSError, PyfpmError) as error:
            self._close_listeners(listeners, old.listeners)
            raise SpawnError(str(error)) from error
        new.limits = self.limits or new.limits
        pool.on_boot_failed = self._boot_failed
        try:
            worker = await self._try(new)
            concerned = self._of(old)
            self._commit(old, new, worker)
            await self._take_over(old, new, concerned)
        except BaseException:
            self._abandon(old, new)
            raise
        finally:
            pool.on_boot_failed = None
            pool.look()
        old.zygotes.stop()
        self._close_listeners(old.listeners, new.listeners)
        notice = pool.memory.notice
        notice.publish(reloads=notice.current.reloads + 1)
        return self._replaced()

    async def restart(self) -> Replaced:
        pool = self._pool
        await self._find_room()
        pool.on_boot_failed = self._boot_failed
        concerned = [w for w in pool.workers.by_serial.values() if w.serves]
        for worker in concerned:
            worker.due = RESTART
        try:
            pool.look()
            await self._replace(concerned)
        except BaseException:
            for worker in concerned:
                worker.due = ""
            raise
        finally:
            pool.on_boot_failed = None
            pool.look()
        return self._replaced()

    def _replaced(self) -> Replaced:
        return Replaced(self._pool.generation.number, len(draining_lines(self._pool)))

    # -- trial ------------------------------------------------------------------------------

    async def _try(self, new: Generation) -> WorkerHandle:
        """A ready worker of the new generation; SpawnError if there will not be one."""
        pool = self._pool
        await self._find_room()
        self._progress(f"pool {pool.name}: booting generation {new.number}")
        pool.generations.trial = new
        pool.look()
        await self._until(lambda: new.zygotes.ready is not None)
        await self._find_room()
        worker = pool.workers.spawn_one(new)
        if worker is None:
            raise SpawnError("a worker of the new generation could not be asked for")
        await self._until(lambda: worker.was_ready)
        return worker

    async def _find_room(self) -> None:
        """Wait a little for a place that another pool's reload took; SpawnError if none comes."""
        deadline_s = time.monotonic() + _ROOM_S
        while self._pool.room() < 1:
            if self._pool.health.is_ending:
                raise SpawnError("the pool is being stopped")
            if time.monotonic() > deadline_s:
                raise SpawnError("process.max leaves no room for one more worker: raise it")
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _boot_failed(self, text: str) -> None:
        self._failure = self._failure or text
        trial = self._pool.generations.trial
        if trial is not None:
            trial.zygotes.stop()  # and does not try again
        self._pool.look()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait; SpawnError if a boot fails before the condition holds."""
        await self._pool.until(lambda: bool(self._failure) or condition())
        if self._failure:
            raise SpawnError(self._failure)

    # -- commit and takeover ----------------------------------------------------------------

    def _commit(self, old: Generation, new: Generation, worker: WorkerHandle) -> None:
        pool = self._pool
        self._switch(old, new)
        candidates = [w for w in self._of(old) if w.state is WorkerState.SERVING]
        candidates.sort(key=lambda w: (not pool.memory.board.is_idle(w.slot), w.spawned_s))
        if candidates:
            pool.workers.pair(candidates[0], worker)
            pool.workers.give_way(worker)

    def _warn(self, listener: Listener, error: Exception) -> None:
        text = f"owner, mode or backlog of {listener.address} could not be applied: {error}"
        Log(self._pool.name).warning("listener", text)
        self._progress(f"pool {self._pool.name}: {text}")

    def _switch(self, old: Generation, new: Generation) -> None:
        """`new` is the current generation; the workers of `old` are due."""
        self._pool.become(new)
        self._mind_channels()
        for listener in new.listeners:
            try:
                apply_settings(listener, new.options, new.identity)
            except (OSError, PyfpmError) as error:
                self._warn(listener, error)
        for worker in self._of(new):
            worker.due = ""
        for worker in self._of(old):
            if worker.state is WorkerState.BOOTING:
                self._pool.workers.drain(worker, RELOAD)
            worker.due = RELOAD

    def _mind_channels(self) -> None:
        """Have nobody hand connections into a channel that the current generation does not read."""
        current = self._pool.generation
        for generation in self._pool.generations:
            generation.hands_over = generation.channel is current.channel
        for worker in self._pool.workers.by_serial.values():
            if worker.state is WorkerState.DRAINING and not worker.generation.hands_over:
                self._pool.workers.drain(worker, RELOAD)  # it was told to hand over, perhaps

    async def _take_over(
        self, old: Generation, new: Generation, concerned: list[WorkerHandle]
    ) -> None:
        try:
            await self._replace(concerned)
        except SpawnError:
            if not self._pool.health.is_ending:
                text = f"rolling back to generation {old.number}"
                Log(self._pool.name).error("rolling_back", text)
                self._progress(f"pool {self._pool.name}: {text}")
                self._switch(new, old)
            raise

    async def _replace(self, concerned: list[WorkerHandle]) -> None:
        """Wait until none of these takes requests any more, telling how it goes."""
        pool, total = self._pool, len(concerned)

        def count() -> int:
            return sum(worker.serves for worker in concerned)

        pool.look()
        left = total
        while left:
            try:
                async with asyncio.timeout(2 * pool.options.boot_timeout):
                    await self._until(lambda before=left: count() != before)  # type: ignore[misc]
            except TimeoutError:
                if reason := self._in_the_way():
                    self._say_held_up(left, reason)
                    return
            if count() != left:
                left = count()
                self._progress(
                    f"pool {pool.name}: {total - left} of {counted(total, 'worker')} replaced"
                )
        await self._until_they_stopped_listening(concerned)

    def _in_the_way(self) -> str:
        """What keeps the rest from being replaced; empty if that may still come.

        A boot takes boot_timeout at most, so nothing will change until a drain ends, or until
        another pool leaves room.
        """
        workers = self._pool.workers.by_serial.values()
        limits = self._pool.limits
        drain = any(not worker.serves for worker in workers)
        if drain and len(workers) >= limits.max_children + limits.reload_surge:
            return _DRAINS
        if self._pool.room() < 1:
            return _DRAINS if drain else "process.max leaves no room: they follow when it does"
        return ""

    def _say_held_up(self, left: int, reason: str) -> None:
        """Wait no longer: reloads come one after the other, and others wait for theirs.

        What is left is due, and replaced whenever there is a place.
        """
        text = f"{counted(left, 'worker is', 'workers are')} not replaced yet, since {reason}"
        Log(self._pool.name).warning("reload_held_up", text)
        self._progress(f"pool {self._pool.name}: {text}")

    async def _until_they_stopped_listening(self, told: list[WorkerHandle]) -> None:
        """Wait until those who were told to drain have heard it.

        A worker that is idle may take a connection before it reads the order, and whoever asked
        for the reload must not be answered by the old code afterwards. One that runs a request
        reads the order before it takes anything else.
        """
        board, known = self._pool.memory.board, self._pool.workers.by_serial
        deadline_s = time.monotonic() + _HEARD_S
        for worker in told:
            while (  # noqa: ASYNC110 - nobody tells
                worker.serial in known
                and board.stage(worker.slot) in _LISTENING
                and time.monotonic() < deadline_s
            ):
                await asyncio.sleep(_LOOK_AGAIN_S)

    def _of(self, generation: Generation) -> list[WorkerHandle]:
        workers = self._pool.workers.by_serial.values()
        return [w for w in workers if w.generation is generation and w.serves]

    # -- end --------------------------------------------------------------------------------

    def _abandon(self, old: Generation, new: Generation) -> None:
        """The new generation is not to be, if it was not the current one already at the end."""
        pool = self._pool
        if pool.generation is new:
            old.zygotes.stop()
            return
        pool.generations.leave(new)
        new.zygotes.stop()
        for worker in self._of(new):
            if worker.state is WorkerState.BOOTING:
                pool.workers.end(worker)
        self._close_listeners(new.listeners, old.listeners)

    def _close_listeners(self, gone: Sequence[Listener], stay: Sequence[Listener]) -> None:
        """Close those that stay with nobody; spare ones are their old pool's to close."""
        for listener in gone:
            if listener not in stay and listener not in self._spare:
                listener.give_up(self._pool.generations.disposal)
