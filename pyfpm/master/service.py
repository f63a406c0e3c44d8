"""The master: opens the pools, serves, reloads, and takes everything down.

One thread, one asyncio loop. It never imports application code and treats every byte from
zygotes and workers as hostile (DESIGN 1).
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence

from pyfpm.config import Config, SystemdAddress
from pyfpm.control import Call, Command, ControlServer
from pyfpm.errors import ControlError, PyfpmError
from pyfpm.kernel.prctl import set_child_subreaper
from pyfpm.logs import Log, open_log, reopen_log
from pyfpm.master.access_log import reopen_access_logs
from pyfpm.master.commands import Answer, make_commands
from pyfpm.master.front_end import FrontProcess
from pyfpm.master.health import PoolState
from pyfpm.master.main_options import access_of, log_settings, needing_a_start
from pyfpm.master.origin import Origin
from pyfpm.master.own_limits import apply_own_limits
from pyfpm.master.package import open_package
from pyfpm.master.pidfile import PidFile
from pyfpm.master.pools import Pools
from pyfpm.master.reaper import Reaper
from pyfpm.master.reloader import Reloader
from pyfpm.master.renewals import Renewals
from pyfpm.master.report import status_of
from pyfpm.master.setting import Setting
from pyfpm.master.signals import SignalHandlers
from pyfpm.master.state import SavedMaster
from pyfpm.master.succession import Progress
from pyfpm.master.upgrade import Upgrade
from pyfpm.observe import render_headline

_OBSERVE_S = 1.0
EXIT_OK = 0
EXIT_FAILED = 1


class Master:
    """One configuration being served."""

    def __init__(
        self,
        config: Config,
        front: FrontProcess | None,
        load: Callable[[], Config],
        origin: Origin,
    ) -> None:
        self.started_s = time.monotonic()
        self.state = "starting"
        self._front = front
        self.load = load
        self._in_force = config.main  # what a reload cannot change is as it was here
        self.origin = origin
        self._log = Log()
        self._signals = SignalHandlers()
        self._reaper = Reaper()
        self.pid_file = PidFile(config.main.pid)
        self.stop_asked = asyncio.Event()
        self._tasks: set[asyncio.Task[object]] = set()
        self._exit_code = EXIT_OK
        self.renewals = Renewals(self._renew)
        self.setting = Setting(
            main=config.main,
            reaper=self._reaper,
            package_fd=open_package(),
            soft_file_limit=origin.soft_file_limit,
            is_root=os.geteuid() == 0,
            passed=origin.passed,
            room=self._room,
            settled=self._on_settled,
            emergency=self.renewals.begin,
        )
        self.pools = Pools(config, self.setting)
        self.reloader = Reloader(
            self.pools, load, self._apply_main, self._reload_begins, self._reload_ends
        )
        self._upgrade = Upgrade(self)

    # -- the run ----------------------------------------------------------------------------

    async def run(self, saved: SavedMaster | None = None) -> int:
        """Serve until told to stop; the exit code. `saved` is what a master before an exec left."""
        apply_own_limits(self.setting.main, self._log)
        set_child_subreaper()
        self.control = self._make_control(saved)
        try:
            if saved is None:
                self.pid_file.refuse_second()
                await self.control.start()
                self._begin()
            else:
                self._take_over(saved)
                await self.control.start()
            await self._serve()
        finally:
            self.origin.notifier.close()
            self.pools.close()
            self.pid_file.remove()
            await self.control.close()
            self._signals.remove()
            os.close(self.setting.package_fd)
        self._log.notice("exit", "exiting, bye-bye!")
        return self._exit_code

    def _begin(self) -> None:
        self.pools.open()
        self._mention_unused()
        self.pid_file.write(os.getpid())
        self._install_signals()
        self._announce("running", f"fpm is running, pid {os.getpid()}")
        self.origin.notifier.watch()
        self.pools.start_all()
        self._on_settled()

    def revive(self, saved: SavedMaster) -> None:
        """Have everything as it was saved, without touching anything outside of this process."""
        self.state, self.started_s = "running", saved.started_s
        self.reloader.succeeded = saved.reloads
        self._reaper.resume(saved.deaths)
        self.pools.revive(saved)

    def _take_over(self, saved: SavedMaster) -> None:
        """Go on in this process, in which signals are blocked."""
        self.revive(saved)
        self.pid_file.inherit(os.getpid())
        self._install_signals()  # and reaps what ended before the exec
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        self.origin.notifier.watch()
        self.pools.start_all()

    async def _serve(self) -> None:
        observer = asyncio.create_task(self._observe())
        await self.stop_asked.wait()
        observer.cancel()
        self.state = "stopping"
        self.origin.notifier.stopping()
        await self.pools.stop_all()
        if self._front is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._front.pid, signal.SIGTERM)

    async def _observe(self) -> None:
        while True:
            await asyncio.sleep(_OBSERVE_S)
            for pool in list(self.pools.running.values()):
                try:
                    pool.observe()
                except Exception as error:  # noqa: BLE001 - one pool's trouble, not all pools'
                    Log(pool.name).error("observe_failed", repr(error))
            try:
                self._tell_status()
            except Exception as error:  # noqa: BLE001 - the observer must not end with one failure
                Log().error("status_failed", repr(error))

    def _tell_status(self) -> None:
        if self.origin.notifier.is_heard:
            statuses = [status_of(pool) for pool in self.pools.running.values()]
            self.origin.notifier.status(render_headline(statuses + self.pools.late.statuses()))

    def _mention_unused(self) -> None:
        """Sockets of systemd that nobody accepts from: their clients would wait for ever."""
        wanted = {
            address.name
            for options in self.pools.config.pools.values()
            for address in options.listen
            if isinstance(address, SystemdAddress)
        }
        for name in self.origin.passed.unused(wanted):
            self._log.warning(
                "socket_unused",
                f"systemd passed the socket {name}, and no pool uses it: set listen ="
                f" systemd:{name} in one, or disable the socket unit",
            )

    # -- readiness --------------------------------------------------------------------------

    def _on_settled(self) -> None:
        """Every pool that starts workers has a ready one, or has failed its first boot.

        The service ends if all have failed, but not for an ondemand pool that serves when one asks
        or a late one that may open yet: a tenant with a bad import would take them down with it.
        """
        if self.state != "starting":
            return
        running = self.pools.running.values()
        waited_for = [pool for pool in running if pool.options.workers_at_start]
        if not all(pool.health.settled for pool in waited_for):
            return
        failed = all(pool.health.state is PoolState.DEGRADED for pool in running)
        if waited_for and failed and not self.pools.late.reasons:
            self._log.alert("no_pool", "no pool could start its application")
            self._tell_failures()
            self._tell_terminal("no pool could start its application")
            self._exit_code = EXIT_FAILED
            self.state = "stopping"
            self.stop_asked.set()
            return
        self.state = "running"
        self._tell_failures()
        self._announce("ready", "ready to handle connections")
        if self.origin.terminal is not None:
            self.origin.terminal.release()
        self._tell_status()
        self.origin.notifier.ready()
        if self._front is not None:
            self._front.ready()

    # -- signals ----------------------------------------------------------------------------

    def _install_signals(self) -> None:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGCHLD: self._reap,
            signal.SIGTERM: lambda: self._on_stop_signal("SIGTERM"),
            signal.SIGQUIT: lambda: self._on_stop_signal("SIGQUIT"),
            signal.SIGINT: lambda: self._on_stop_signal("SIGINT"),
            signal.SIGHUP: self._on_reload_signal,
            signal.SIGUSR2: self._on_reload_signal,
            signal.SIGUSR1: self._on_reopen_signal,
        }
        self._signals.install(handlers)
        self._reap()  # what ended before the handler was there

    def _reap(self) -> None:
        if self._reaper.reap():
            asyncio.get_running_loop().call_soon(self._reap)

    def watch_front(self) -> None:
        """The service ends with its front end, whichever of the two ends first."""
        if self._front is not None:
            self._reaper.watch(self._front.pid, lambda _: self._front_ended())

    def _front_ended(self) -> None:
        if not self.stop_asked.is_set():
            self._log.alert("front_ended", "the HTTP front end has ended")
            self._exit_code = EXIT_FAILED
            self.stop(now=False)

    def _on_stop_signal(self, name: str) -> None:
        if self.stop_asked.is_set():
            self._log.notice("stop_now", f"{name} again: stopping now")
            self.stop(now=True)
        else:
            self._log.notice("stopping", f"{name}: finishing ...")
            self.stop(now=False)

    def _on_reload_signal(self) -> None:
        self._log.notice("reloading", "reload asked for by a signal")
        self._in_background(self._reload_by_signal())

    async def _reload_by_signal(self) -> None:
        """Nobody waits for the answer, and the reloader has logged what went wrong."""
        if not self.stop_asked.is_set():
            with contextlib.suppress(PyfpmError):
                await self.reloader.reload((), _unheard)

    async def _renew(self, name: str) -> None:
        await self.pools.renew(name)

    def _in_background(self, work: Coroutine[object, object, object]) -> None:
        """Run it to its end; what goes wrong is in the log already, or goes there."""

        def ended(task: asyncio.Task[object]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if isinstance(error, PyfpmError):
                self._log.error("failed", str(error))

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)

    # -- what the commands do ---------------------------------------------------------------

    def _room(self, name: str) -> int:
        return self.pools.room(name)

    @property
    def generation(self) -> int:
        """One more than the reloads of this master that succeeded."""
        return self.reloader.succeeded + 1

    async def reload(self, names: Sequence[str], progress: Progress) -> Answer:
        """Reload these pools, or everything; see Reloader."""
        if self.stop_asked.is_set():
            raise ControlError("the service is stopping")
        return await self.reloader.reload(names, progress)

    def _reload_begins(self) -> None:
        if self.state == "running":
            self.state = "reloading"
            self.origin.notifier.reloading()

    def _reload_ends(self) -> None:
        if self.state == "reloading":
            self.state = "running"
            self._tell_status()
            self.origin.notifier.ready()
        self._mention_unused()

    def _apply_main(self, config: Config) -> list[str]:
        """Apply what of `[pyfpm]` can be applied to a running master; a line for what cannot."""
        old, new = self.setting.main, config.main
        settings = log_settings(new)
        if settings != log_settings(old):
            open_log(settings)
        if access_of(old) != access_of(new):
            self.control.change_access(
                owner=new.control_owner, group=new.control_group, mode=new.control_mode
            )
        self.setting.main = new
        return needing_a_start(self._in_force, new)

    def _on_reopen_signal(self) -> None:
        with contextlib.suppress(PyfpmError):  # the log says it, and nobody waits for an answer
            self.reopen_logs()

    def reopen_logs(self) -> list[str]:
        """Open every log file anew under its name, without a restart; the paths that were opened.

        PyfpmError where that fails; the old file stays in use then.
        """
        paths: list[str] = []
        problems: list[str] = []
        for reopen in (reopen_log, lambda: reopen_access_logs(self.pools.running.values())):
            try:
                paths += reopen()
            except PyfpmError as error:
                problems.append(str(error))
        if problems:
            self._log.error("reopen_failed", "; ".join(problems))
            raise PyfpmError("; ".join(problems))
        self._log.notice("reopened", "error log reopened")
        return paths

    async def upgrade(self, call: Call) -> Answer:
        """Replace the master's own code; see Upgrade."""
        return await self._upgrade.run(call)

    def stop(self, *, now: bool) -> None:
        """Begin to stop; `now` kills instead of waiting for requests."""
        self.stop_asked.set()
        if now:
            for pool in self.pools.running.values():
                pool.signal_all(signal.SIGKILL)

    # -- words ------------------------------------------------------------------------------

    def _announce(self, event: str, message: str) -> None:
        """To the log, and to the terminal where the log is somewhere else."""
        self._log.notice(event, message)
        self._tell_terminal(message)

    def _tell_terminal(self, message: str) -> None:
        if self.setting.main.error_log != "stderr":
            with contextlib.suppress(OSError):  # the terminal is gone; the service goes on
                print(message, file=sys.stderr, flush=True)  # noqa: T201 - output of `start`

    def _tell_failures(self) -> None:
        """To who starts the service: which pools do not serve, and why."""
        for pool in self.pools.running.values():
            if pool.health.state is PoolState.DEGRADED:
                self._tell_terminal(f"pool {pool.name}: {pool.health.failure.strip()}")
        for name, reason in self.pools.late.reasons.items():
            self._tell_terminal(f"pool {name}: {reason}: it is tried again")

    def _make_control(self, saved: SavedMaster | None) -> ControlServer:
        main = self.setting.main
        commands: dict[str, Command] = make_commands(self)
        return ControlServer(
            main.control,
            owner=main.control_owner,
            group=main.control_group,
            mode=main.control_mode,
            commands=commands,
            inherited=None if saved is None else socket.socket(fileno=saved.control),
        )


def _unheard(text: str) -> None:
    """Progress that nobody waits for; the log has it."""
    del text
