"""The zygote of a generation: there is one, or one is on its way, or it does without for now."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyfpm.errors import PyfpmError
from pyfpm.logs import Log
from pyfpm.master.handles import ZygoteHandle
from pyfpm.master.link import OnMessage, zygote_messages_per_s
from pyfpm.master.output import Emit
from pyfpm.master.plans import preload_of
from pyfpm.master.processes import HIDDEN
from pyfpm.master.reaper import Death, Reaper
from pyfpm.master.state import SavedZygote, SavedZygotes
from pyfpm.messages import (
    BootFailed,
    Message,
    Ready,
    Spawned,
    SpawnFailed,
    UnsafePreload,
)

if TYPE_CHECKING:
    from pyfpm.master.generation import Generation

_LEAVE_S = 3.0
_YOUNG_S = 10.0
_LONGEST_PAUSE_S = 30.0


class ZygoteKeeper:
    """Starts, minds and gives back the zygote of one generation.

    `on_claim(zygote, serial, pid)` and `on_spawn_failed(zygote, serial, error)` pass on what it
    says of workers (False for a failure that is a lie), `on_ended(zygote)` that it is gone, `look`
    that something changed.
    """

    def __init__(
        self,
        generation: "Generation",
        reaper: Reaper,
        log: Log,
        *,
        emit: Emit,
        on_claim: Callable[[ZygoteHandle, int, int], None],
        on_spawn_failed: Callable[[ZygoteHandle, int, str], bool],
        on_ended: Callable[[ZygoteHandle], None],
        look: Callable[[], None],
    ) -> None:
        self.zygote: ZygoteHandle | None = None
        self.boot_s = 0.0
        self.remark = ""  # what status should say although all is well
        self._generation = generation
        self._options = generation.options
        self._processes = generation.processes
        self._reaper = reaper
        self._log = log
        self._emit = emit
        self._on_claim = on_claim
        self._on_spawn_failed = on_spawn_failed
        self._on_ended = on_ended
        self._look = look
        self._preload = preload_of(generation.options)
        self._returned = False
        self.stopped = False
        self._give_back: asyncio.TimerHandle | None = None
        self._died_young = 0  # in a row: ready, and dead soon after
        self._retry_s = 0.0

    @property
    def ready(self) -> ZygoteHandle | None:
        """The zygote, if workers can be asked for now."""
        zygote = self.zygote
        return zygote if zygote is not None and zygote.ready else None

    def save(self) -> SavedZygotes:
        """For the next master."""
        saved = None
        if self.zygote is not None:
            zygote = self.zygote
            zygote.orders.flush()
            saved = SavedZygote(
                process=zygote.save_process(zygote.pid),
                started_s=zygote.started_s,
                preloads=zygote.preloads,
                ready=zygote.ready,
                failed=zygote.failed,
            )
        return SavedZygotes(
            zygote=saved,
            boot_s=self.boot_s,
            remark=self.remark,
            preload=self._preload,
            returned=self._returned,
            stopped=self.stopped,
            give_back_s=None if self._give_back is None else self._give_back.when(),
        )

    def resume(self, saved: SavedZygotes) -> None:
        """Go on as the master before an exec left it."""
        self.boot_s, self.remark = saved.boot_s, saved.remark
        self._preload, self._returned, self.stopped = saved.preload, saved.returned, saved.stopped
        loop = asyncio.get_running_loop()
        if saved.give_back_s is not None and not saved.stopped:
            self._give_back = loop.call_at(saved.give_back_s, self._return)
        if saved.zygote is not None:
            self.zygote = self._resume_zygote(saved.zygote)

    def _resume_zygote(self, saved: SavedZygote) -> ZygoteHandle:
        zygote = ZygoteHandle(self._generation.number, saved.started_s, preloads=saved.preloads)
        zygote.pid = saved.process.pid or 0
        zygote.ready, zygote.failed = saved.ready, saved.failed
        zygote.resume_process(
            saved.process,
            self._listener(zygote),
            self._emit,
            self._processes.flow,
            self._processes.messages,
            zygote_messages_per_s(self._options),
        )
        self._reaper.watch(zygote.pid, lambda death: self._ended(zygote, death))
        if saved.process.boot_ends_s is not None and not zygote.failed:
            zygote.boot_timer = asyncio.get_running_loop().call_at(
                saved.process.boot_ends_s, lambda: self._too_slow(zygote)
            )
        if zygote.failed:
            self._end_soon(zygote)
        return zygote

    def ensure(self) -> None:
        """Have a zygote unless it was given back; not before a failed boot may be repeated."""
        if not self._returned:
            self.want()

    def want(self) -> None:
        """Have a zygote because workers are needed."""
        if self._give_back is not None:
            self._give_back.cancel()
            self._give_back = None
        self._returned = False
        boots = self._generation.boots
        may_start = time.monotonic() >= max(boots.retry_s, self._retry_s)
        if self.zygote is None and may_start and not (self.stopped or boots.is_ending):
            self._start()

    def no_workers(self) -> None:
        """The last worker of an ondemand pool left: give the zygote back after a while."""
        after_s = self._options.preload_idle_timeout
        if after_s and self._give_back is None:
            loop = asyncio.get_running_loop()
            self._give_back = loop.call_later(after_s, self._return)

    def stop(self) -> None:
        """End the zygote; one that is still importing would not notice its master hanging up.

        A hook that hangs at its exit must not keep it either.
        """
        self.stopped = True
        if self._give_back is not None:
            self._give_back.cancel()
        if self.zygote is not None:
            if self.zygote.link is not None:
                self.zygote.link.close()
            if self.zygote.ready:
                self._end_soon(self.zygote)
            else:
                self._processes.end(self.zygote, signal.SIGKILL)

    def _start(self) -> None:
        started_s = time.monotonic()
        try:
            zygote = self._processes.start_zygote(
                self._generation.number,
                preload=self._preload,
                on_message=self._listener,
                emit=self._emit,
            )
        except OSError as error:
            self._generation.boots.boot_failed(f"start a zygote: {error.strerror}", started_s)
            return
        except PyfpmError as error:
            self._generation.boots.boot_failed(str(error), started_s)
            return
        self.zygote = zygote
        self._reaper.watch(zygote.pid, lambda death: self._ended(zygote, death))
        loop = asyncio.get_running_loop()
        zygote.boot_timer = loop.call_later(
            self._options.boot_timeout, lambda: self._too_slow(zygote)
        )
        self._log.debug("zygote_started", f"zygote {zygote.pid} started", pid=zygote.pid)

    def _listener(self, zygote: ZygoteHandle) -> OnMessage:
        def listen(message: Message | None) -> None:
            match message:
                case Ready(boot_s, preloaded, _) if not (zygote.ready or zygote.failed):
                    self._is_ready(zygote, boot_s, preloaded=preloaded)
                case UnsafePreload(reason) if not (zygote.ready or zygote.failed):
                    self._goes_without_preload(reason)
                    self._end_soon(zygote)
                case BootFailed(text) if not (zygote.ready or zygote.failed):
                    self._end_soon(zygote)
                    self._generation.boots.boot_failed(text, zygote.started_s)
                case Spawned(serial, pid):
                    self._on_claim(zygote, serial, pid)
                    zygote.orders.go_on(zygote.link)
                case SpawnFailed(serial, error):
                    if not self._on_spawn_failed(zygote, serial, error):
                        _refuse(zygote, message)
                    zygote.orders.go_on(zygote.link)
                case None:
                    self._hung_up(zygote)
                case _:  # not for the master, or not a second time
                    _refuse(zygote, message)

        return listen

    def _hung_up(self, zygote: ZygoteHandle) -> None:
        """It hung up or broke the rules: not to be trusted with a fork."""
        if zygote.link is not None and zygote.link.fault:
            text = f"zygote {zygote.pid} broke the rules of its control socket, and is killed:"
            self._log.error("broken_rules", f"{text} {zygote.link.fault}", pid=zygote.pid)
        self._processes.end(zygote, signal.SIGKILL)

    def _is_ready(self, zygote: ZygoteHandle, boot_s: float, *, preloaded: bool) -> None:
        if self._processes.is_hidden(zygote):  # nor would a worker be seen, but be ready by then
            zygote.failed = True
            self._processes.end(zygote, signal.SIGKILL)
            self._generation.boots.boot_failed(f"zygote {zygote.pid}: {HIDDEN}", zygote.started_s)
            return
        zygote.ready = True
        zygote.booted()
        if preloaded:
            self.boot_s = boot_s
            self._log.debug("zygote_ready", f"application imported in {boot_s:.3f} s")
            self._generation.boots.booted()
        self._look()

    def _goes_without_preload(self, reason: str) -> None:
        self._preload = False
        self.remark = f"workers import the application themselves: {reason}"
        self._log.notice("preload_off", f"workers will import the application themselves: {reason}")

    def _too_slow(self, zygote: ZygoteHandle) -> None:
        """Give it up, and hang up.

        If it became ready, or failed, between the end of boot_timeout and its death, its answer is
        late but breaks no rule: it must neither count a second time nor be taken for a lie.
        """
        zygote.failed = True
        self._processes.end(zygote, signal.SIGKILL)
        if zygote.link is not None:
            zygote.link.close()
        app, limit_s = self._options.app, self._options.boot_timeout
        text = f"the import did not end within boot_timeout ({limit_s:g} s)"
        self._generation.boots.boot_failed(f"{app.origin}: app = {app}: {text}", zygote.started_s)

    def _ended(self, zygote: ZygoteHandle, death: Death) -> None:
        if zygote.link is not None:
            zygote.link.drain()
        zygote.close()
        self.zygote = None
        expected = self._returned or self.stopped or self._generation.boots.is_ending
        if not (zygote.failed or expected):
            if zygote.ready:
                self._log.warning("zygote_ended", f"zygote {zygote.pid} exited {death.text}")
                self._pause(zygote)
            else:
                app, python = self._options.app, self._options.python
                text = f"{python} exited {death.text} while it booted"
                self._generation.boots.boot_failed(
                    f"{app.origin}: app = {app}: {text}", zygote.started_s
                )
        self._on_ended(zygote)

    def _pause(self, zygote: ZygoteHandle) -> None:
        """Start the next one at once; one that goes on dying young waits longer each time.

        It was ready, so no boot has failed, and an application that ends its zygote after that
        would have the master do nothing but fork.
        """
        now_s = time.monotonic()
        young = now_s - zygote.started_s < _YOUNG_S
        self._died_young = self._died_young + 1 if young else 0
        if self._died_young > 1:
            pause_s = min(2.0 ** (self._died_young - 2), _LONGEST_PAUSE_S)
            self._retry_s = now_s + pause_s
            asyncio.get_running_loop().call_later(pause_s, self._look)

    def _end_soon(self, zygote: ZygoteHandle) -> None:
        """It leaves by itself; an exit handler of the application that hangs must not keep it.

        Its end is no news then, and boot_timeout is not for an import that has ended.
        """
        zygote.failed = True
        zygote.booted()
        asyncio.get_running_loop().call_later(
            _LEAVE_S, lambda: self._processes.end(zygote, signal.SIGKILL)
        )

    def _return(self) -> None:
        self._give_back = None
        if self.zygote is not None and self.zygote.link is not None:
            self._returned = True
            self._log.debug("zygote_returned", "no workers for a while: the zygote is given back")
            self.zygote.ready = False
            self.zygote.failed = True  # a request may come before its end, which is no news then
            self.zygote.link.close()  # it ends with its master's end of the socket
            self._end_soon(self.zygote)


def _refuse(zygote: ZygoteHandle, message: Message) -> None:
    if zygote.link is not None and zygote.link.descriptor is not None:
        zygote.link.refuse(f"{type(message).__name__} is not for a zygote to say now")
