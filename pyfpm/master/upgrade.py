"""`pyfpm upgrade`: the master replaces its own code by exec (DESIGN 6).

rehearsal  the new code does everything once as a child; a failure ends the upgrade, and nothing
           has happened
rest       no reload, restart or other command is under way, new clients wait in the backlog of
           the control socket, and signals are blocked; renewals that nobody asked for are put off,
           since a tenant could have one be under way for ever
exec       the state goes into a memfd, and the new code takes this process over: the same pid,
           children, sockets
resume     it puts the pools together again, installs its handlers, sweeps, unblocks, and gives
           every pool a new generation by a rolling reload (master.resume)

Requests are not concerned: workers accept for themselves, and notice nothing.

What happens to the master between its last look and the first one of the new code:
* A process ends: it stays a zombie, SIGCHLD is pending, and the sweep finds it.
* A process says something: it waits in its socket, which nobody reads here any more. What is read
  is dealt with in the same turn of the loop; only half lines of output are kept, in the state. The
  last words of processes that have ended are in no pipe any more: they are written before.
* A signal comes: blocked, it stays pending across the exec until its handler is there. One that
  came before it was blocked has left a byte in a pipe of asyncio's that ends with the exec, so the
  loop turns a few times in between.
* The client goes away: the upgrade goes on, and the log has the outcome.
* PR_SET_PDEATHSIG of the workers does not fire: their parent's only thread lives on.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import pyfpm
from pyfpm.config import Config, ConfigFile, snapshot_options
from pyfpm.control import Call, ControlServer
from pyfpm.errors import ControlError
from pyfpm.kernel.memfd import create_sealed_copy
from pyfpm.logs import Log
from pyfpm.master.capture import save_pool
from pyfpm.master.origin import Origin
from pyfpm.master.pidfile import PidFile
from pyfpm.master.pools import Pools
from pyfpm.master.rehearsal import rehearse
from pyfpm.master.reloader import Reloader
from pyfpm.master.renewals import Renewals
from pyfpm.master.setting import Setting
from pyfpm.master.state import SavedMaster, encode_state
from pyfpm.master.successor import Step, successor_command

PATIENCE_S = 60.0
"""How long an upgrade waits for what else is under way."""
_QUIESCE_S = 5.0
_PAUSE_S = 0.05
# One turn reads asyncio's pipe, the next one calls the handler, and that may start a task.
_TURNS = 4


class Upgradable(Protocol):
    """What an upgrade sees of the master."""

    state: str
    started_s: float
    stop_asked: asyncio.Event
    load: Callable[[], Config]
    setting: Setting
    origin: Origin
    control: ControlServer
    pid_file: PidFile
    pools: Pools
    reloader: Reloader
    renewals: Renewals


class Upgrade:
    """Upgrades of one master, one at a time."""

    def __init__(self, master: Upgradable) -> None:
        self._master = master
        self._is_under_way = False
        self._log = Log()

    async def run(self, call: Call) -> dict[str, object]:
        """Does not return where it succeeds. ControlError: this master goes on, unchanged."""
        if self._is_under_way:
            raise ControlError("an upgrade is under way already")
        self._is_under_way = True
        try:
            self._check()
            with self._master.renewals.held():
                await self._rehearse(call)
                await self._replace(call)
        except ControlError as error:
            self._log.error("upgrade_failed", f"upgrade failed: {error}")
            raise
        finally:
            self._is_under_way = False
        raise AssertionError("exec returned")

    def _check(self) -> None:
        """ControlError where an upgrade is not possible now."""
        if not isinstance(self._master.load, ConfigFile):
            raise ControlError("`pyfpm run` cannot be upgraded: end it and run it anew")
        doing = "stopping" if self._master.stop_asked.is_set() else self._master.state
        if doing not in ("running", "reloading"):
            raise ControlError(f"the service is {doing}: it cannot be upgraded now")

    @property
    def _is_resting(self) -> bool:
        """Whether no reload or restart is under way, and no pool is ending."""
        return not self._master.reloader.is_busy and self._master.pools.is_resting

    def _save(self, call: int | None) -> SavedMaster:
        """Everything that the next master must know; `call` is the client's connection."""
        master, load = self._master, self._master.load
        assert isinstance(load, ConfigFile)
        # What a reload could not change is as it was at the start.
        main = replace(master.setting.main, control=master.control.path, pid=master.pid_file.path)
        return SavedMaster(
            package_version=pyfpm.__version__,
            config_path=load.path,
            allow_root=load.allow_root,
            daemonize=load.daemonize,
            main=snapshot_options(main),
            started_s=master.started_s,
            soft_file_limit=master.setting.soft_file_limit,
            reloads=master.reloader.succeeded,
            pools=tuple(save_pool(pool) for pool in master.pools.running.values()),
            stopped={name: snapshot_options(one) for name, one in master.pools.stopped.items()},
            deaths=master.setting.reaper.save(),
            control=master.control.socket_fd,
            call=call,
            kept=master.origin.passed.descriptors,
            late=master.pools.late.save(),
        )

    async def _rehearse(self, call: Call) -> None:
        master = self._master
        if not self._is_resting:
            call.progress("waiting for a reload that is under way")
        await self._rest(asyncio.get_running_loop().time() + PATIENCE_S)
        self._log.notice("upgrade", "upgrade: trying the new code")
        call.progress("trying the new code")
        # No await from the look at `is_resting` to the fork inside of rehearse: what is saved is
        # what the child finds.
        saved = self._save(None)
        state_fd = create_sealed_copy("pyfpm-state", encode_state(saved))
        try:
            await rehearse(
                successor_command(Step.REHEARSE, state_fd),
                dict(os.environ),
                {*saved.descriptors, state_fd},
                master.setting.reaper,
            )
        finally:
            os.close(state_fd)

    async def _replace(self, call: Call) -> None:
        control, setting = self._master.control, self._master.setting
        setting.lets_in = False
        try:
            await self._let_in_the_last()
            await self._come_to_rest(call)
        except BaseException:
            setting.lets_in = True
            raise
        try:
            self._check()
            connection = await call.detach()
            try:
                self._execute(None if connection is None else connection.fileno())
            finally:
                if connection is not None:
                    connection.close()
        finally:  # reached only where there was no exec
            setting.lets_in = True
            _unblock_signals()
            await control.resume()

    async def _let_in_the_last(self) -> None:
        """Connections on their way out of a hand-off channel are nowhere in the state.

        A child that does not get through with them is killed before long.
        """
        pools = self._master.pools.running
        while any(pool.demand.is_adopting for pool in pools.values()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_PAUSE_S)

    async def _come_to_rest(self, call: Call) -> None:
        """Until nothing is under way and nothing can begin.

        Then the control socket is quiet and signals are blocked; both are undone where it fails.
        """
        control, loop = self._master.control, asyncio.get_running_loop()
        end_s = loop.time() + PATIENCE_S
        while True:
            await self._rest(end_s)
            if await control.quiesce(_QUIESCE_S, but=call):
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
                if self._is_resting:
                    return
                _unblock_signals()
            await control.resume()
            self._check()
            if loop.time() > end_s:
                raise ControlError("other commands are under way: upgrade when they have ended")
            await asyncio.sleep(_PAUSE_S)

    async def _rest(self, end_s: float) -> None:
        try:
            async with asyncio.timeout_at(end_s):
                while not self._is_resting:
                    await self._master.reloader.rest()
                    await self._master.pools.rest()
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise ControlError(
                f"a reload is under way and did not end within {PATIENCE_S:g} s"
            ) from None

    def _execute(self, connection: int | None) -> None:
        """Exec; ControlError if there was none."""
        if len(os.listdir("/proc/self/task")) > 1:
            # Only the thread that forked the workers may end without a signal to them.
            raise ControlError("the master runs a thread: upgrade later, or restart the service")
        for pool in self._master.pools.running.values():
            pool.workers.tell_the_rest()
        try:
            self._master.setting.disposals.finish()
        except OSError as error:
            raise ControlError(f"fork: {error.strerror}; nothing has changed") from error
        saved = self._save(connection)
        self._log.notice("upgrade", "upgrade: the new code takes over")
        state_fd = create_sealed_copy("pyfpm-state", encode_state(saved))
        passed = {*saved.descriptors, state_fd}
        command = successor_command(Step.RESUME, state_fd)
        try:
            for number in passed:
                os.set_inheritable(number, True)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os.execve(command[0], command, self._master.origin.environment())  # noqa: S606
        except OSError as error:
            for number in passed:
                os.set_inheritable(number, False)
            os.close(state_fd)
            raise ControlError(
                f"execute {command[0]}: {error.strerror}; nothing has changed"
            ) from error


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
