"""The process of the master, from the command that starts it to its exit code."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace

from pyfpm.config import Config
from pyfpm.errors import PyfpmError
from pyfpm.kernel.demands import require_kernel
from pyfpm.kernel.title import set_title
from pyfpm.logs import Log, open_log
from pyfpm.master.background import go_to_background
from pyfpm.master.front_end import FrontProcess
from pyfpm.master.main_options import log_settings
from pyfpm.master.origin import Origin
from pyfpm.master.pidfile import MASTER_TITLE
from pyfpm.master.service import Master
from pyfpm.master.signals import signals_that_wait


def run_master(
    config: Config,
    *,
    load: Callable[[], Config],
    front: FrontProcess | None = None,
    daemonize: bool = False,
) -> int:
    """Serve `config` in this process until told to stop; the exit code.

    `load` reads the configuration anew, for a reload; an upgrade is possible only where it is a
    ConfigFile, since another process cannot be told of any other. With `daemonize` the service
    runs in a child of this process, which waits until that is ready, and ends by SystemExit.
    `config` must hold absolute paths then.

    Raises ConfigError, PyfpmError or ControlError where the service cannot start; nothing of it
    is left then.
    """
    require_kernel()
    # What systemd says is meant for the process that it started: before any fork.
    origin = Origin.of_this_process()
    if daemonize:
        origin = replace(origin, terminal=go_to_background())
    signal.pthread_sigmask(signal.SIG_BLOCK, signals_that_wait())
    keep_descriptors_from_pools()
    open_log(log_settings(config.main))
    set_title(MASTER_TITLE)
    for notice in config.notices:
        Log().notice("config", str(notice))
    say_own_problems(config)
    return asyncio.run(_run(config, front, load, origin))


def say_own_problems(config: Config) -> None:
    """Why pools will not boot: of most, the boot alone would say less."""
    for problem in config.own_problems:
        Log().error("config", str(problem))


def keep_descriptors_from_pools() -> None:
    """Whatever our own parent left open and inheritable must not reach a pool's interpreter."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the folder's own descriptor is closed again
                os.set_inheritable(int(name), False)


async def _run(
    config: Config, front: FrontProcess | None, load: Callable[[], Config], origin: Origin
) -> int:
    master = Master(config, front, load, origin)
    master.watch_front()
    try:
        return await master.run()
    except Exception as error:  # the command line says it too, if a terminal is left to say it on
        if config.main.error_log != "stderr":
            text = str(error) if isinstance(error, PyfpmError) else f"internal error: {error!r}"
            Log().alert("start_failed", text)
        raise
