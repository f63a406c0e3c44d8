"""The parts of an upgrade against the kernel: the rehearsal's child, the rest, the exec."""

import asyncio
import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest
from forked import run_in_child

from pyfpm import ControlError
from pyfpm.config import ConfigFile
from pyfpm.master.reaper import Reaper
from pyfpm.master.rehearsal import REHEARSED, rehearse
from pyfpm.master.state import SavedMaster
from pyfpm.master.upgrade import Upgrade

LONG_AGO_S = 0.3


def rehearsing(program, *, timeout_s=5.0, descriptors=(), python=sys.executable):
    """Rehearse a program in a loop with a reaper; the words of its refusal, empty for none."""

    async def run():
        reaper = Reaper()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reaper.reap)
        command = [python, "-c", program]
        try:
            await rehearse(command, dict(os.environ), descriptors, reaper, timeout_s)
        except ControlError as error:
            return str(error)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
        return ""

    return asyncio.run(run())


def test_code_that_passes_is_not_refused() -> None:
    """It finds the descriptors that it is to have under their own numbers, and no others."""

    def check():
        reader, writer = os.pipe()
        program = f"""if True:
            import os
            os.write({writer}, b"here")
            try:
                os.fstat({reader})
            except OSError:
                print({REHEARSED!r}, end="")
                raise SystemExit(0)
            raise SystemExit("a descriptor too many")
        """
        assert rehearsing(program, descriptors={writer}) == ""
        assert os.read(reader, 9) == b"here"
        assert not os.get_inheritable(writer)

    run_in_child(check)


def test_code_that_fails_is_refused_with_its_own_words() -> None:
    """The end of a long story is what counts; an exit without a word is named."""

    def check():
        words = rehearsing("print('x' * 100_000); raise ValueError('no such thing')")
        assert "nothing has changed" in words
        assert words.endswith("ValueError: no such thing")
        assert len(words) < 20_000
        assert "exited with code 3" in rehearsing("raise SystemExit(3)")
        assert "SIGKILL" in rehearsing("import os; os.kill(os.getpid(), 9)")
        assert "No such file" in rehearsing("", python="/nowhere/python")

    run_in_child(check, timeout_s=30)


def test_code_that_does_not_end_is_killed() -> None:
    """In bounded time, and also where a child of it keeps its output open."""

    def check():
        began_s = time.monotonic()
        words = rehearsing("print('I ...', flush=True); import time; time.sleep(60)", timeout_s=1.0)
        assert "did not end within 1 s" in words
        assert "I ..." in words
        forked = "import os, time\nif not os.fork(): time.sleep(20)\nelse: raise SystemExit('left')"
        assert rehearsing(forked).endswith("left")
        assert time.monotonic() - began_s < 15

    run_in_child(check, timeout_s=30)


class Control:
    """A control server that becomes quiet; `before` is called at the last moment of that."""

    def __init__(self, before):
        self.before = before
        self.calls = []

    async def quiesce(self, timeout_s, *, but):
        self.calls.append("quiesce")
        self.before()
        return True

    async def resume(self):
        self.calls.append("resume")


def stub_master(control):
    """A master with nothing to do, but for a reload that `begin_reload` starts."""
    reloader = SimpleNamespace(is_busy=False, began=0)

    async def rest():
        await asyncio.sleep(LONG_AGO_S)
        reloader.is_busy = False

    async def nothing():
        pass

    def begin_reload():
        reloader.is_busy = True
        reloader.began += 1

    reloader.rest = rest
    return SimpleNamespace(
        load=ConfigFile("/nowhere/pyfpm.conf"),
        state="running",
        stop_asked=asyncio.Event(),
        control=control,
        reloader=reloader,
        begin_reload=begin_reload,
        pools=SimpleNamespace(is_resting=True, rest=nothing, running={}),
        origin=SimpleNamespace(environment=lambda: dict(os.environ)),
        setting=SimpleNamespace(lets_in=True, disposals=SimpleNamespace(finish=lambda: None)),
    )


def test_signal_at_the_last_moment_is_not_lost() -> None:
    """What Python has heard of, but the loop not yet, would end with the exec."""

    async def check():
        signals = iter([signal.SIGHUP])

        def send():
            for signum in signals:
                os.kill(os.getpid(), signum)

        control = Control(send)
        master = stub_master(control)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, master.begin_reload)
        await Upgrade(master)._come_to_rest(None)
        assert master.reloader.began == 1
        assert control.calls == ["quiesce", "resume", "quiesce"]
        assert signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ())

    run_in_child(lambda: asyncio.run(check()))


def test_stop_at_the_last_moment_ends_the_upgrade() -> None:
    """TERM while the upgrade comes to rest: the service stops, and signals are let in."""

    async def check():
        control = Control(lambda: os.kill(os.getpid(), signal.SIGTERM))
        master = stub_master(control)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, master.stop_asked.set)
        with pytest.raises(ControlError, match="the service is stopping"):
            await Upgrade(master)._replace(None)
        assert control.calls == ["quiesce", "resume"]
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())

    run_in_child(lambda: asyncio.run(check()))


def test_exec_that_fails_changes_nothing() -> None:
    """The interpreter is gone: the command says so, and no descriptor leaks into pools."""

    async def check():
        control = Control(lambda: None)
        reader, writer = os.pipe()
        upgrade = Upgrade(stub_master(control))
        upgrade._save = lambda call: SavedMaster(
            package_version="0.1.0",
            config_path="/nowhere/pyfpm.conf",
            allow_root=False,
            daemonize=False,
            main={},
            started_s=0.0,
            soft_file_limit=1024,
            reloads=0,
            pools=(),
            stopped={},
            deaths={},
            control=reader,
            call=call,
            kept=(writer,),
        )
        sys.executable = "/nowhere/python"
        before = os.listdir("/proc/self/fd")
        with pytest.raises(ControlError, match="execute /nowhere/python: No such file"):
            upgrade._execute(None)
        assert os.listdir("/proc/self/fd") == before
        assert not os.get_inheritable(reader)
        assert not os.get_inheritable(writer)

    run_in_child(lambda: asyncio.run(check()))
