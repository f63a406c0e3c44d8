"""A worker from its fork to its exit."""

import atexit
import os
import select
import signal
import socket
import sys
import time
import traceback
from types import FrameType
from typing import NoReturn

from pyfpm.cgi import EnvironBuilder, PathInfo
from pyfpm.errors import SpawnError
from pyfpm.kernel.prctl import set_parent_death_signal
from pyfpm.kernel.title import set_title
from pyfpm.messages import (
    BootDocument,
    BootFailed,
    InheritedDescriptor,
    Ready,
    Spawn,
    encode_message,
)
from pyfpm.runtime.application import Application, load_application
from pyfpm.runtime.assembly import Assembly
from pyfpm.runtime.channel import Channel
from pyfpm.runtime.connection_table import ConnectionTable
from pyfpm.runtime.engine import Engine
from pyfpm.runtime.exchange import Exchange
from pyfpm.runtime.handoff import HandOff
from pyfpm.runtime.intake import Intake
from pyfpm.runtime.orders import Orders
from pyfpm.runtime.pages import make_pages
from pyfpm.runtime.shared import SharedMemory
from pyfpm.runtime.wsgi import environ_template
from pyfpm.scoreboard import SlotWriter, Stage
from pyfpm.scoreboard.slot import Word

EXIT_BOOT_FAILED = 70
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_REPARENT_TRIES = 2000
# Reserved: TERM is the application's to replace, and the end of the master must reach us anyway.
_MASTER_DIED = signal.SIGRTMAX - 2


def run_worker(
    document: BootDocument, spawn: Spawn, control: socket.socket, application: Application | None
) -> NoReturn:
    """Be a worker; ends the process. stdout and stderr are in place already."""
    code = EXIT_BOOT_FAILED
    try:
        code = _Worker(document, spawn, control).run(application)
    except BaseException:  # noqa: BLE001 - the worker's boundary: a traceback and an exit code
        traceback.print_exc()
    finally:
        leave(code)


class _Worker:
    def __init__(self, document: BootDocument, spawn: Spawn, control: socket.socket) -> None:
        self._document = document
        self._spawn = spawn
        self._control = control
        self._started_ns = time.monotonic_ns()
        self._engine: Engine | None = None
        self._drain_reason = ""

    def run(self, application: Application | None) -> int:
        document = self._document
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        for signum in _IGNORED:
            signal.signal(signum, ignore_signal)
        for signum in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(signum, self._on_drain_signal)
        signal.signal(_MASTER_DIED, self._on_master_died)
        if not _tie_to_master(document.master_pid):
            return 0
        set_title(f"pyfpm: pool {document.pool} worker {self._spawn.slot}")
        shared = SharedMemory(document.slots)
        slot = SlotWriter(shared.board.slot(self._spawn.slot))
        slot.claim(
            pid=os.getpid(),
            serial=self._spawn.serial,
            generation=document.generation,
            now_ns=self._started_ns,
            epoch_s=int(time.time()),
        )
        preloaded = application is not None
        try:
            application = application or load_application(document)
        except SpawnError as error:
            self._control.send(encode_message(BootFailed(str(error))))
            return EXIT_BOOT_FAILED
        engine = self._engine = self._make_engine(application, shared, slot)
        os.register_at_fork(after_in_child=self._become_child)
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

    def _make_engine(
        self, application: Application, shared: SharedMemory, slot: SlotWriter
    ) -> Engine:
        document, limits = self._document, self._document.limits
        epoll = select.epoll()
        orders = Orders(self._control)
        channel = Channel(
            InheritedDescriptor.CHANNEL_SEND,
            InheritedDescriptor.CHANNEL_RECEIVE,
            shared.count_idle,
        )
        builder = EnvironBuilder(
            mount=document.mount,
            path_info=PathInfo(document.path_info),
            template=environ_template(),
        )
        table = ConnectionTable(epoll, slot, limits)
        pages = make_pages(document, shared.board, shared.notice)
        return Engine(
            epoll=epoll,
            orders=orders,
            intake=Intake(
                epoll, document.listeners, channel, lambda line: orders.log("error", line)
            ),
            table=table,
            hand_off=HandOff(channel, table, slot, orders),
            assembly=Assembly(builder, limits),
            exchange=Exchange(application, limits, slot, pages),
            slot=slot,
            limits=limits,
            use_minder=document.minder,
        )

    def _become_child(self) -> None:
        """In a child that the application forked: give back what makes us a worker."""
        if self._engine is not None:
            self._engine.close_in_child()
        for signum in (signal.SIGTERM, signal.SIGQUIT, _MASTER_DIED):
            if getattr(signal.getsignal(signum), "__self__", None) is self:
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
