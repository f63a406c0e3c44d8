"""A worker from its fork to its exit."""

import atexit
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import time
import traceback
from types import FrameType
from typing import NoReturn

from pyfpm.errors import SpawnError
from pyfpm.kernel.prctl import set_parent_death_signal
from pyfpm.kernel.title import set_title
from pyfpm.messages import (
    BootDocument,
    BootFailed,
    Ready,
    ReservedSignal,
    Spawn,
    encode_message,
)
from pyfpm.runtime.application import Application, load_application
from pyfpm.runtime.construction import construct_engine
from pyfpm.runtime.engine import Engine
from pyfpm.runtime.shared import SharedMemory
from pyfpm.runtime.time_limit import time_limit
from pyfpm.scoreboard import SlotWriter, Stage
from pyfpm.scoreboard.slot import Word

EXIT_BOOT_FAILED = 70
EXIT_NO_DESCRIPTORS = 71
DRAIN_SIGNALS = (signal.SIGTERM, signal.SIGQUIT)
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_REPARENT_TRIES = 2000
# Reserved: TERM is the application's to replace, and the end of the master must reach us anyway.
_MASTER_DIED = ReservedSignal.MASTER_DIED
_DESCRIPTORS_CLOSED = (
    b"pyfpm: the application closed descriptors of its worker (os.closerange?): the worker ends\n"
)


def run_worker(
    document: BootDocument,
    spawn: Spawn,
    control: socket.socket,
    stacks: int,
    application: Application | None,
    shared: SharedMemory,
    access_fd: int | None = None,
) -> NoReturn:
    """Be a worker; ends the process. stdout and stderr are in place already.

    `stacks` is the pipe that takes the stacks of all threads, `access_fd` the access log.
    """
    code = EXIT_BOOT_FAILED
    identity = _identity_of(control.fileno())
    try:
        code = _Worker(document, spawn, control, stacks, shared, access_fd).run(application)
    except BaseException:  # noqa: BLE001 - the worker's boundary: a traceback and an exit code
        if _identity_of(control.fileno()) == identity:
            traceback.print_exc()
        else:
            os.write(2, _DESCRIPTORS_CLOSED)
            code = EXIT_NO_DESCRIPTORS
    finally:
        leave(code)


class _Worker:
    def __init__(
        self,
        document: BootDocument,
        spawn: Spawn,
        control: socket.socket,
        stacks: int,
        shared: SharedMemory,
        access_fd: int | None,
    ) -> None:
        self._access_fd = access_fd
        self._document = document
        self._spawn = spawn
        self._control = control
        self._stacks = stacks
        self._shared = shared
        self._started_ns = time.monotonic_ns()
        self._engine: Engine | None = None
        self._drain_reason = ""

    def run(self, application: Application | None) -> int:
        document = self._document
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        for signum in _IGNORED:
            signal.signal(signum, ignore_signal)
        for signum in DRAIN_SIGNALS:
            signal.signal(signum, self._on_drain_signal)
        signal.signal(_MASTER_DIED, self._on_master_died)
        signal.signal(ReservedSignal.REQUEST_TIMEOUT, time_limit.on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DRAIN_SIGNALS)
        # Before the application is imported: a boot that hangs can be looked into, too. It looks at
        # the threads without their lock, so CPython 3.11 may crash where one starts or ends at that
        # very moment (one dump in 4 to 265 of a process that did nothing else). That is the price
        # of stacks from a process that is blocked in C.
        faulthandler.register(
            ReservedSignal.DUMP_STACKS, file=self._stacks, all_threads=True, chain=False
        )
        if not _tie_to_master(document.master_pid):
            return 0
        set_title(f"pyfpm: pool {document.pool} worker {self._spawn.slot}")
        slot = SlotWriter(self._shared.board.slot(self._spawn.slot))
        slot.claim(
            pid=os.getpid(),
            serial=self._spawn.serial,
            generation=document.generation,
            now_ns=self._started_ns,
            epoch_s=int(time.time()),
        )
        os.register_at_fork(after_in_child=self._become_child)
        preloaded = application is not None
        try:
            application = application or load_application(document)
        except SpawnError as error:
            self._control.send(encode_message(BootFailed(str(error))))
            return EXIT_BOOT_FAILED
        engine = self._engine = construct_engine(
            document, self._control, application, self._shared, slot, self._access_fd
        )
        now_ns = time.monotonic_ns()
        boot_ns = now_ns - self._started_ns
        slot.words[Word.BOOT_NS] = boot_ns
        # Idle before Ready: the master looks at the slot as soon as it hears of us, and would take
        # a ready worker that is not idle for a busy one, and spawn another.
        slot.enter(Stage.IDLE.code, now_ns)
        self._control.send(encode_message(Ready(boot_ns / 1e9, preloaded, "")))
        if self._drain_reason:
            engine.ask_to_drain(self._drain_reason)
        engine.run()
        return 0

    def _become_child(self) -> None:
        """In a child that the application forked: give back what makes us a worker."""
        if self._engine is not None:
            self._engine.close_in_child()
        self._control.close()
        time_limit.detach()
        if self._stacks >= 0:  # not in a grandchild, where the number may be the application's
            faulthandler.unregister(ReservedSignal.DUMP_STACKS)
            signal.signal(ReservedSignal.DUMP_STACKS, signal.SIG_DFL)
            with contextlib.suppress(OSError):
                os.close(self._stacks)
            self._stacks = -1
        ours = (signal.SIGTERM, signal.SIGQUIT, _MASTER_DIED, ReservedSignal.REQUEST_TIMEOUT)
        for signum in ours:
            if getattr(signal.getsignal(signum), "__self__", None) in (self, time_limit):
                signal.signal(signum, signal.SIG_DFL)

    def _on_drain_signal(self, signum: int, frame: FrameType | None) -> None:
        """TERM and QUIT: finish what runs, then leave."""
        del frame
        self._drain_for(signal.Signals(signum).name)

    def _on_master_died(self, signum: int, frame: FrameType | None) -> None:
        """Leave as after TERM; nobody else would end a request that never ends.

        SIGALRM, whose default is death, does it after process_control_timeout.
        """
        del signum, frame
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, self._document.process_control_timeout_s))
        self._drain_for("the master is gone")

    def _drain_for(self, reason: str) -> None:
        self._drain_reason = reason
        if self._engine is not None:
            self._engine.ask_to_drain(reason)


def _identity_of(descriptor: int) -> tuple[int, int] | None:
    """What the kernel knows an open file by; None for a descriptor that is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def ignore_signal(signum: int, frame: FrameType | None) -> None:
    """A handler that does nothing; SIG_IGN would be inherited by programs that are executed."""
    del signum, frame


def _tie_to_master(master_pid: int) -> bool:
    """Die with the master; False if it is gone already.

    The zygote forks twice, so that this process becomes the master's child when the middle
    process has ended. Set before that, the death signal would come from the middle one.
    """
    for _ in range(_REPARENT_TRIES):
        if os.getppid() == master_pid or not _exists(master_pid):
            break
        time.sleep(0.0005)
    set_parent_death_signal(_MASTER_DIED)
    return os.getppid() == master_pid


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so it is there
        pass
    return True


def leave(code: int) -> NoReturn:
    """End a worker or zygote.

    Exit handlers run, but nobody waits for threads that import or requests have started, and no
    frame of the zygote below a worker runs on.
    """
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - what sys.exit would run, without waiting for threads
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
