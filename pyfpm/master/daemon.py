"""The master process: sets the service up, runs the loop, takes it down.

One thread, one asyncio loop. It never imports application code and treats every byte from
zygotes and workers as hostile (DESIGN 1).
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Protocol

import pyfpm
from pyfpm.config import Config, LogFormat
from pyfpm.control import Command, ControlServer
from pyfpm.errors import ConfigError, ControlError, Problem, PyfpmError, SpawnError
from pyfpm.kernel.prctl import set_child_subreaper
from pyfpm.kernel.title import set_title
from pyfpm.logs import Level, Log, LogSettings, open_log, reopen_log
from pyfpm.master.commands import make_commands
from pyfpm.master.health import PoolState
from pyfpm.master.identity import resolve_identity
from pyfpm.master.listeners import open_listeners
from pyfpm.master.pidfile import PidFile
from pyfpm.master.pool import Pool
from pyfpm.master.reaper import Reaper
from pyfpm.master.setting import Setting

_UNBOUNDED = 1 << 30
_OBSERVE_S = 1.0
EXIT_OK = 0
EXIT_FAILED = 1


class FrontProcess(Protocol):
    """The embedded HTTP front end of `pyfpm run`, as far as the master minds it."""

    @property
    def pid(self) -> int:
        """Its process, a child of this one."""
        ...

    def ready(self) -> None:
        """Called when the pool serves."""
        ...


class Master:
    """One configuration being served."""

    def __init__(self, config: Config, front: FrontProcess | None) -> None:
        self.config = config
        self.pools: dict[str, Pool] = {}
        self.started_s = time.monotonic()
        self.state = "starting"
        self._front = front
        self._log = Log()
        self._reaper = Reaper()
        self._is_root = os.geteuid() == 0
        self._pid_file = PidFile(config.main.pid)
        self._stop_asked = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self._exit_code = EXIT_OK
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._setting = Setting(
            main=config.main,
            reaper=self._reaper,
            package_fd=os.open(os.path.dirname(pyfpm.__file__), os.O_PATH | os.O_CLOEXEC),
            soft_file_limit=soft,
            is_root=self._is_root,
            room=self._room,
            settled=self._on_settled,
        )

    # -- the run ----------------------------------------------------------------------------

    async def run(self) -> int:
        """Serve until told to stop; the exit code."""
        self._raise_file_limit()
        set_child_subreaper()
        control = self._make_control()
        await control.start()
        try:
            self._open_pools()
            self._pid_file.write(os.getpid())
            self._install_signals()
            self._announce("running", f"fpm is running, pid {os.getpid()}")
            self._start_pools()
            await self._serve()
        finally:
            for pool in self.pools.values():
                if pool.health.state is not PoolState.STOPPED:
                    pool.close()
            self._pid_file.remove()
            await control.close()
            self._remove_signals()
            os.close(self._setting.package_fd)
        self._log.notice("exit", "exiting, bye-bye!")
        return self._exit_code

    async def _serve(self) -> None:
        observer = asyncio.create_task(self._observe())
        await self._stop_asked.wait()
        observer.cancel()
        self.state = "stopping"
        timeout_s = self.config.main.process_control_timeout
        order = sorted(self.pools.values(), key=lambda pool: -pool.options.priority)
        await asyncio.gather(*(pool.stop(timeout_s=timeout_s) for pool in order))
        if self._front is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._front.pid, signal.SIGTERM)

    async def _observe(self) -> None:
        while True:
            await asyncio.sleep(_OBSERVE_S)
            for pool in self.pools.values():
                try:
                    pool.observe()
                except Exception as error:  # noqa: BLE001 - one pool's trouble, not all pools'
                    Log(pool.options.name).error("observe_failed", repr(error))

    # -- pools ------------------------------------------------------------------------------

    def _open_pools(self) -> None:
        """Open the listeners of all pools, or of none; ConfigError with every failure."""
        problems: list[Problem] = []
        for name, options in self.config.pools.items():
            try:
                identity = resolve_identity(options, is_root=self._is_root)
                listeners = open_listeners(options, identity)
            except SpawnError as error:
                problems.append(self._problem(f"pool:{name}", "listen", str(error)))
                continue
            self.pools[name] = Pool(options, identity, listeners, self._setting)
        if problems:
            for pool in self.pools.values():
                for listener in pool.listeners:
                    listener.close()
            raise ConfigError(problems)

    def _problem(self, section: str, key: str, message: str) -> Problem:
        file, _, line = self.config.origin(section, key).rpartition(":")
        known = file and line.isdecimal()
        return Problem(
            file if known else self.config.path, int(line) if known else None, section, key, message
        )

    def _start_pools(self) -> None:
        started = sorted(self.pools.values(), key=lambda pool: pool.options.priority)
        for pool in started:
            if pool.options.autostart:
                pool.start()
        self._on_settled()

    def _room(self) -> int:
        most = self.config.main.process_max
        if not most:
            return _UNBOUNDED
        return most - sum(pool.worker_count for pool in self.pools.values())

    def _on_settled(self) -> None:
        """Every pool that starts workers has a ready one, or has failed its first boot."""
        if self.state != "starting":
            return
        waited_for = [pool for pool in self.pools.values() if pool.options.workers_at_start]
        waited_for = [pool for pool in waited_for if pool.options.autostart]
        if not all(pool.health.settled for pool in waited_for):
            return
        if waited_for and all(pool.health.state is PoolState.DEGRADED for pool in waited_for):
            self._log.alert("no_pool", "no pool could start its application")
            self._exit_code = EXIT_FAILED
            self.state = "stopping"
            self._stop_asked.set()
            return
        self.state = "running"
        self._announce("ready", "ready to handle connections")
        if self._front is not None:
            self._front.ready()

    # -- signals ----------------------------------------------------------------------------

    def _install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGCHLD: self._reap,
            signal.SIGTERM: lambda: self._on_stop_signal("SIGTERM"),
            signal.SIGQUIT: lambda: self._on_stop_signal("SIGQUIT"),
            signal.SIGINT: lambda: self._on_stop_signal("SIGINT"),
            signal.SIGHUP: self._on_reload_signal,
            signal.SIGUSR2: self._on_reload_signal,
            signal.SIGUSR1: self._on_reopen_signal,
        }
        for signum, handler in handlers.items():
            loop.add_signal_handler(signum, handler)
        self._handled = tuple(handlers)
        self._reap()  # what ended before the handler was there

    def _remove_signals(self) -> None:
        for signum in getattr(self, "_handled", ()):
            asyncio.get_running_loop().remove_signal_handler(signum)

    def _reap(self) -> None:
        self._reaper.reap()

    def watch_front(self) -> None:
        """The service ends with its front end, whichever of the two ends first."""
        if self._front is not None:
            self._reaper.watch(self._front.pid, lambda _: self._front_ended())

    def _front_ended(self) -> None:
        if not self._stop_asked.is_set():
            self._log.alert("front_ended", "the HTTP front end has ended")
            self._exit_code = EXIT_FAILED
            self.stop(now=False)

    def _on_stop_signal(self, name: str) -> None:
        if self._stop_asked.is_set():
            self._log.notice("stop_now", f"{name} again: stopping now")
            self.stop(now=True)
        else:
            self._log.notice("stopping", f"{name}: finishing ...")
            self.stop(now=False)

    def _on_reload_signal(self) -> None:
        self._log.warning("reload", "reload: not supported yet; restart the service instead")

    def _on_reopen_signal(self) -> None:
        try:
            reopen_log()
            self._log.notice("reopened", "error log reopened")
        except PyfpmError as error:
            self._log.error("reopen_failed", str(error))

    def stop(self, *, now: bool) -> None:
        """Begin to stop; `now` kills instead of waiting for requests."""
        self._stop_asked.set()
        if now:
            for pool in self.pools.values():
                pool.signal_all(signal.SIGKILL)

    # -- words ------------------------------------------------------------------------------

    def _announce(self, event: str, message: str) -> None:
        """To the log, and to the terminal where the log is somewhere else."""
        self._log.notice(event, message)
        if self.config.main.error_log != "stderr":
            print(message, file=sys.stderr, flush=True)  # noqa: T201 - the start command's output

    def _make_control(self) -> ControlServer:
        main = self.config.main
        commands: dict[str, Command] = make_commands(self)
        return ControlServer(
            main.control,
            owner=main.control_owner,
            group=main.control_group,
            mode=main.control_mode,
            commands=commands,
        )

    def _raise_file_limit(self) -> None:
        """As many descriptors as allowed, or as rlimit_files says; pools get the old limit back."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.config.main.rlimit_files or hard
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        except (ValueError, OSError):  # beyond the hard limit without CAP_SYS_RESOURCE
            self._log.warning(
                "rlimit_files", f"rlimit_files = {wanted}: not permitted, using {hard}"
            )
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_master(config: Config, *, front: FrontProcess | None = None) -> int:
    """Serve `config` in this process until told to stop; the exit code.

    Raises ConfigError, PyfpmError or ControlError where the service cannot start; nothing of it
    is left then.
    """
    _keep_descriptors_from_pools()
    main = config.main
    settings = LogSettings(
        target=main.error_log,
        level=Level.named(main.log_level.value),
        json=main.log_format is LogFormat.JSON,
        limit=main.log_limit,
    )
    open_log(settings)
    set_title("pyfpm: master")
    for notice in config.notices:
        Log().notice("config", str(notice))
    return asyncio.run(_run(config, front))


def _keep_descriptors_from_pools() -> None:
    """Whatever our own parent left open and inheritable must not reach a pool's interpreter."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the folder's own descriptor is closed again
                os.set_inheritable(int(name), False)


async def _run(config: Config, front: FrontProcess | None) -> int:
    master = Master(config, front)
    master.watch_front()
    try:
        return await master.run()
    except (ConfigError, ControlError) as error:
        if config.main.error_log != "stderr":  # there the command line says it
            Log().alert("start_failed", str(error))
        raise
