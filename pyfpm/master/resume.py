"""What the new code of an upgrade does: rehearse, or take the master's place (master.upgrade)."""

import asyncio
import os
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

import pyfpm
from pyfpm.config import Config, ConfigFile, restore_main, restore_pool
from pyfpm.control import resume_call
from pyfpm.errors import PyfpmError
from pyfpm.kernel.title import set_title
from pyfpm.logs import Log, LogSettings, open_log
from pyfpm.master.daemon import keep_descriptors_from_pools
from pyfpm.master.main_options import log_settings
from pyfpm.master.origin import Origin
from pyfpm.master.pidfile import MASTER_TITLE
from pyfpm.master.rehearsal import REHEARSED
from pyfpm.master.service import Master
from pyfpm.master.state import SavedMaster, decode_state
from pyfpm.master.successor import Step

_EXIT_REFUSED = 1
_EXIT_INTERNAL = 70


def main(step: str, state_fd: str) -> NoReturn:
    """Rehearse, or be the master from now on; ends the process."""
    try:
        saved = decode_state(_read(int(state_fd)))
        code = asyncio.run(_rehearse(saved)) if step == Step.REHEARSE else resume_master(saved)
    except PyfpmError as error:
        _say(str(error))
        code = _EXIT_REFUSED
    sys.exit(code)


async def _rehearse(saved: SavedMaster) -> NoReturn:
    """Do all that the new master does before it is set going, with copies of every descriptor.

    It ends here, whatever happens. The loop must not turn once: its readers would take away what
    workers say to the master that runs. Nothing may be closed in an orderly way either, because
    that would remove the files of sockets.
    """
    try:
        _config_file(saved)()
        _make_master(saved).revive(saved)
        _say(REHEARSED.rstrip())
        code = 0
    except PyfpmError as error:
        _say(str(error))
        code = _EXIT_REFUSED
    except BaseException:  # noqa: BLE001 - the boundary: the operator has to see what it was
        traceback.print_exc()
        code = _EXIT_INTERNAL
    os._exit(code)


def resume_master(saved: SavedMaster) -> int:
    """Be the master; every signal is blocked since before the exec. The exit code."""
    keep_descriptors_from_pools()
    settings = log_settings(restore_main(saved.main))
    try:
        open_log(settings)
    except PyfpmError as error:  # the service is worth more than its log
        open_log(LogSettings("stderr", settings.level, settings.json, settings.limit))
        Log().error("log_failed", str(error))
    set_title(MASTER_TITLE)
    return asyncio.run(_resume(saved))


async def _resume(saved: SavedMaster) -> int:
    master = _make_master(saved)
    try:
        running = asyncio.create_task(_finish(master, saved))
        return await master.run(saved)
    except Exception as error:
        Log().alert("upgrade_failed", f"the new master cannot go on: {error!r}")
        raise
    finally:
        running.cancel()


async def _finish(master: Master, saved: SavedMaster) -> None:
    """The last step of an upgrade: every pool gets the new runtime by a reload."""
    call = None
    if saved.call is not None:
        with suppress(OSError):  # it went away; the upgrade goes on
            call = await resume_call(socket.socket(fileno=saved.call))
    version = f"pyfpm {pyfpm.__version__}"
    Log().notice("upgraded", f"{version} runs in the place of {saved.package_version}")
    try:
        result = await master.reload((), call.progress if call else _unheard)
    except PyfpmError as error:
        if call is not None:
            call.fail(f"{version} runs, but not all pools could be reloaded:\n{error}")
    else:
        if call is not None:
            call.succeed({"version": pyfpm.__version__, "pid": os.getpid(), **result})


def _make_master(saved: SavedMaster) -> Master:
    pools = {one.name: restore_pool(one.name, one.generations[0].options) for one in saved.pools}
    pools |= {name: restore_pool(name, texts) for name, texts in saved.stopped.items()}
    pools |= {late.name: restore_pool(late.name, late.options) for late in saved.late}
    config = Config(saved.config_path, restore_main(saved.main), pools, (), {})
    origin = replace(Origin.of_this_process(), soft_file_limit=saved.soft_file_limit)
    return Master(config, None, _config_file(saved), origin)


def _config_file(saved: SavedMaster) -> ConfigFile:
    return ConfigFile(saved.config_path, saved.allow_root, saved.daemonize)


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


def _say(text: str) -> None:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the rehearsal's answer


def _unheard(text: str) -> None:
    """The client is gone; the log has it."""
    del text
