"""The only module that creates a zygote or a worker, and the only one that ends them.

What the policy decides is performed here and nowhere else, so this is the place to read for every
way in which a process of a pool begins or is told to end.
"""

import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from pyfpm.config import PoolOptions, Sandbox
from pyfpm.form import form
from pyfpm.kernel.memfd import create_sealed_copy
from pyfpm.kernel.pidfd import has_ended, open_child, send_signal
from pyfpm.kernel.process import real_uid
from pyfpm.master.access_log import AccessLog
from pyfpm.master.blame import name_shortage, name_unread
from pyfpm.master.flow import Flow
from pyfpm.master.handles import WorkerHandle, WorkerState, ZygoteHandle
from pyfpm.master.identity import Identity
from pyfpm.master.launch import LaunchPlan, launch
from pyfpm.master.link import ControlLink, OnMessage, zygote_messages_per_s
from pyfpm.master.listeners import Listener
from pyfpm.master.output import Emit, OutputPipe, longest_piece
from pyfpm.master.plans import make_boot_document, zygote_environment
from pyfpm.master.private_folder import PrivateFolder
from pyfpm.master.sandbox import plan_sandbox
from pyfpm.master.setting import Setting
from pyfpm.master.shared import HandOffChannel, PoolMemory
from pyfpm.master.stacks import StackPipe
from pyfpm.master.turns import Share
from pyfpm.master.unread import LEFT_MOST
from pyfpm.messages import (
    Drain,
    InheritedDescriptor,
    MemoryFile,
    Parked,
    Poke,
    Spawn,
    bootstrap,
)

HIDDEN = (
    "/proc hides whose it is (it is mounted with hidepid): give the master CAP_SYS_PTRACE, or the"
    " group that the mount names with gid="
)


class Processes:
    """Starts and ends the processes of one generation of a pool."""

    def __init__(
        self,
        options: PoolOptions,
        identity: Identity,
        listeners: Sequence[Listener],
        allowed_uids: tuple[int, ...],
        channel: HandOffChannel,
        memory: PoolMemory,
        setting: Setting,
        flow: Flow,
        messages: Share,
        access_log: AccessLog | None = None,
        folder: PrivateFolder | None = None,
    ) -> None:
        self.flow = flow
        self.messages = messages
        self._access_log = access_log
        self._folder = folder
        self._options = options
        self._identity = identity
        self._listeners = listeners
        self._allowed_uids = allowed_uids
        self._channel = channel
        self._memory = memory
        self._setting = setting

    def start_zygote(
        self,
        generation: int,
        *,
        preload: bool | None,
        on_message: Callable[[ZygoteHandle], OnMessage],
        emit: Emit,
    ) -> ZygoteHandle:
        """Fork and execute the pool's interpreter as a zygote.

        OSError or PyfpmError if that cannot be tried.
        """
        options = self._options
        environment, numerics = zygote_environment(options, self._identity, preload=preload)
        document = make_boot_document(
            options,
            self._listeners,
            allowed_uids=self._allowed_uids,
            generation=generation,
            slots=self._memory.slots,
            preload=preload,
            process_control_timeout_s=self._setting.main.process_control_timeout,
            numerics=numerics,
        )
        temporary = ""
        if self._folder is not None:
            self._folder.ensure()
            temporary = self._folder.path_inside
            if "TMPDIR" not in dict(options.environment):
                environment["TMPDIR"] = temporary
        handle = ZygoteHandle(generation, time.monotonic(), preloads=preload is not False)
        with ExitStack() as theirs:
            ours, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            theirs.callback(control.close)
            most_per_s = zygote_messages_per_s(options)
            handle.link = ControlLink(
                ours, on_message(handle), self.messages, most_per_s, self._memory.unread
            )
            try:
                handle.pipes = self._make_pipes(emit)
                for pipe in handle.pipes:
                    theirs.callback(pipe.close_writer)
                boot_fd = create_sealed_copy(f"pyfpm-boot-{options.name}", document.encode())
                theirs.callback(os.close, boot_fd)
                null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                theirs.callback(os.close, null_fd)
                plan = LaunchPlan(
                    argv=(options.python, "-c", self._bootstrap()),
                    environment=environment,
                    directory=options.directory,
                    identity=self._identity,
                    descriptors=self._descriptors(handle, control.fileno(), boot_fd, null_fd),
                    soft_file_limit=self._setting.soft_file_limit,
                    sandbox=plan_sandbox(options, temporary),
                )
                handle.pid = launch(plan)
                handle.pidfd = open_child(handle.pid)
            except OSError:
                if not handle.pid:
                    handle.close()
                    raise
        return handle

    def _bootstrap(self) -> str:
        return bootstrap(stay_plain=form.is_forced, dumpable=self._options.process_dumpable)

    def _descriptors(
        self, handle: ZygoteHandle, control_fd: int, boot_fd: int, null_fd: int
    ) -> dict[int, int]:
        """What the zygote finds under which number (messages.InheritedDescriptor)."""
        outputs = [pipe.writer for pipe in handle.pipes] or [null_fd, null_fd]
        descriptors = {
            0: null_fd,
            1: outputs[0],
            2: outputs[1],
            InheritedDescriptor.CONTROL: control_fd,
            InheritedDescriptor.BOOT_DOCUMENT: boot_fd,
            InheritedDescriptor.PACKAGE: self._setting.package_fd,
            InheritedDescriptor.BOARD: self._memory.board_fd,
            InheritedDescriptor.NOTICE: self._memory.notice_fd,
            InheritedDescriptor.CHANNEL_SEND: self._channel.send.fileno(),
            InheritedDescriptor.CHANNEL_RECEIVE: self._channel.receive.fileno(),
        }
        for index, listener in enumerate(self._listeners):
            descriptors[InheritedDescriptor.LISTENERS + index] = listener.sock.fileno()
        return descriptors

    def request_worker(
        self, worker: WorkerHandle, zygote: ZygoteHandle, on_message: OnMessage, emit: Emit
    ) -> str:
        """Ask the zygote for a worker, now or in its turn; why that cannot be, or nothing."""
        link, unread = zygote.link, self._memory.unread
        if link is None:
            return "the zygote has hung up"
        if unread.descriptors >= LEFT_MOST:
            text = name_unread(unread.descriptors)
            worker.generation.boots.boot_failed(text, worker.spawned_s)
            return text
        worker.zygote = zygote
        try:
            ours, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            worker.link = ControlLink(ours, on_message, self.messages, unread=unread)
            zygote.orders.place(
                link, control, lambda: self._send_spawn(worker, link, control, emit)
            )
        except OSError as error:
            return name_shortage(error)
        return ""

    def _send_spawn(
        self, worker: WorkerHandle, zygote: ControlLink, control: socket.socket, emit: Emit
    ) -> None:
        if worker.closed:
            return
        try:
            self._deliver_spawn(worker, zygote, control, emit)
        except OSError:
            worker.close_pipes()  # another try makes others
            raise

    def _deliver_spawn(
        self, worker: WorkerHandle, zygote: ControlLink, control: socket.socket, emit: Emit
    ) -> None:
        with ExitStack() as theirs:
            worker.pipes = self._make_pipes(emit)
            for pipe in worker.pipes:
                theirs.callback(pipe.close_writer)
            null_fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            theirs.callback(os.close, null_fd)
            writers = [pipe.writer for pipe in worker.pipes] or [null_fd, null_fd]
            worker.stacks = StackPipe()
            theirs.callback(worker.stacks.close_writer)
            spawn = Spawn(worker.serial, worker.slot)
            descriptors = [control.fileno(), *writers, worker.stacks.writer]
            if self._access_log is not None:
                descriptors.append(self._access_log.descriptor)
            zygote.deliver(spawn, descriptors)

    def accept_claim(self, worker: WorkerHandle, pid: int) -> bool:
        """Believe that `pid` is this worker, if nothing says that it is not.

        It must be a child of ours that nobody claimed before, and of this pool's user: otherwise
        a hostile zygote could claim what another pool left behind, and have it signalled. OSError
        where that cannot be looked at.
        """
        if self._setting.reaper.knows(pid):
            return False
        pidfd = open_child(pid)
        if pidfd is None:
            return False
        try:
            if not self._is_of_our_user(pid, pidfd):
                os.close(pidfd)
                return False
        except OSError:
            os.close(pidfd)
            raise
        worker.pid = pid
        worker.pidfd = pidfd
        if self._options.sandbox is not Sandbox.OFF and self._options.pm_max_memory:
            self._pass_memory_file(worker, pid)
        return True

    def _is_of_our_user(self, pid: int, pidfd: int) -> bool:
        uid = self._identity.uid
        if uid is None:
            return True
        found = real_uid(pid)
        if found is None and not has_ended(pidfd):
            raise PermissionError(errno.EACCES, HIDDEN)
        return found in (uid, None)

    def is_hidden(self, zygote: ZygoteHandle) -> bool:
        """Whether the master may not look whose the processes of this pool are, where it has to."""
        if zygote.pidfd is not None:
            try:
                self._is_of_our_user(zygote.pid, zygote.pidfd)
            except PermissionError:
                return True
            except OSError:  # out of descriptors, which says nothing
                pass
        return False

    @staticmethod
    def _pass_memory_file(worker: WorkerHandle, pid: int) -> None:
        """What a worker cannot open itself in a sandbox, and needs for pm.max_memory.

        The pidfd holds the pid: the file is that of this process and of no later one.
        """
        with suppress(OSError):  # it has ended
            descriptor = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if worker.link is not None:
                    worker.link.send(MemoryFile(), [descriptor])
            finally:
                os.close(descriptor)

    @staticmethod
    def drain(worker: WorkerHandle, reason: str, parked: Parked) -> bool:
        """Tell a worker to finish and leave; False if it could not be told now."""
        if worker.link is None or not worker.link.send(Drain(parked)):
            return False
        worker.state = WorkerState.DRAINING
        worker.leaves_for = worker.leaves_for or reason
        return True

    @staticmethod
    def poke(worker: WorkerHandle) -> None:
        """Make a worker look at its listeners anew."""
        if worker.link is not None:
            worker.link.send(Poke())

    @staticmethod
    def end(process: WorkerHandle | ZygoteHandle, signum: signal.Signals) -> None:
        """Send TERM or KILL through the pidfd; a worker without one sees its master hang up."""
        if isinstance(process, WorkerHandle):
            process.state = WorkerState.ENDING
        if process.pidfd is not None:
            send_signal(process.pidfd, signum)
        elif process.link is not None:
            process.link.close()

    def _make_pipes(self, emit: Emit) -> tuple[OutputPipe, ...]:
        if not self._options.catch_workers_output:
            return ()
        identity = self._identity
        owner = None
        if identity.uid is not None and identity.gid is not None:
            owner = (identity.uid, identity.gid)
        limit = longest_piece(self._setting.main.log_limit)
        stdout = OutputPipe("stdout", limit, emit, owner, self.flow)
        try:
            return stdout, OutputPipe("stderr", limit, emit, owner, self.flow)
        except OSError:
            stdout.close_writer()
            stdout.close()
            raise
