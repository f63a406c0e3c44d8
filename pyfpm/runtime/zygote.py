"""The zygote: imports the application once and forks workers from that (DESIGN 1).

Started by `messages.bootstrap` inside the pool's own interpreter, with the pool's identity
applied before the exec. It talks to the master on one control socket and ends with it. The
master is trusted here; what the zygote says is not trusted there.
"""

import contextlib
import errno
import os
import signal
import socket
import struct
import sys
import time
from typing import NoReturn

from pyfpm.errors import SpawnError
from pyfpm.kernel.descriptors import receive_with_descriptors
from pyfpm.kernel.prctl import set_parent_death_signal
from pyfpm.kernel.title import set_title
from pyfpm.messages import (
    MAX_MESSAGE_BYTES,
    BootDocument,
    BootFailed,
    InheritedDescriptor,
    Message,
    Ready,
    ReservedSignal,
    Spawn,
    Spawned,
    SpawnFailed,
    UnsafePreload,
    decode_message,
    encode_message,
)
from pyfpm.messages.boot import decode_boot_document
from pyfpm.runtime.application import Application, load_application
from pyfpm.runtime.construction import load_options
from pyfpm.runtime.preload import find_fork_hazard
from pyfpm.runtime.shared import SharedMemory
from pyfpm.runtime.sharing import settle_memory
from pyfpm.runtime.worker import (
    DRAIN_SIGNALS,
    EXIT_BOOT_FAILED,
    ignore_signal,
    leave,
    run_worker,
)

_IGNORED = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    # Their default is death, and the master may send them before a new worker has its handlers.
    ReservedSignal.DUMP_STACKS,
    ReservedSignal.REQUEST_TIMEOUT,
)
_PID = struct.Struct("=i")
_MOST_PROCESSES = "see rlimit_nproc, and what bounds the tasks of the service"


def main() -> NoReturn:
    """Run the zygote; workers come out of it and never return here either."""
    started_s = time.monotonic()
    control = socket.socket(fileno=InheritedDescriptor.CONTROL)
    with open(InheritedDescriptor.BOOT_DOCUMENT, "rb") as file:
        document = decode_boot_document(file.read())
    for signum in _IGNORED:
        signal.signal(signum, ignore_signal)
    set_parent_death_signal(signal.SIGTERM)
    if os.getppid() != document.master_pid:
        sys.exit(0)
    set_title(f"pyfpm: pool {document.pool} zygote")
    zygote = Zygote(document, control)
    code = zygote.run(started_s)
    # sys.exit would wait for the threads of the import, which may never end.
    control.close()
    leave(code)


class Zygote:
    """One pool, one generation."""

    def __init__(self, document: BootDocument, control: socket.socket) -> None:
        self._document = document
        self._control = control
        self._shared = SharedMemory(document.slots)
        self._fillings: list[bytes] = []
        last = InheritedDescriptor.LISTENERS + len(document.listeners)
        # The boot document is closed: what the import opens first gets its number.
        self._own = frozenset(range(last)) - {InheritedDescriptor.BOOT_DOCUMENT}
        for descriptor in self._own:
            if descriptor > 2:
                os.set_inheritable(descriptor, False)
        with contextlib.suppress(OSError):  # in a sandbox: what keeps /proc/self reachable
            os.set_inheritable(last, False)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # text files here

    def run(self, started_s: float) -> int:
        """Boot, then serve spawn requests until the master closes the socket."""
        load_options(self._document)
        application: Application | None = None
        if self._document.preload is not False:
            try:
                application = load_application(self._document)
            except SpawnError as error:
                self._tell(BootFailed(str(error)))
                return EXIT_BOOT_FAILED
            hazard = find_fork_hazard(self._own) if self._document.preload is None else ""
            if hazard:
                self._tell(UnsafePreload(hazard))
                return 0
            for name in self._document.single_threaded_numerics:
                os.environ.pop(name, None)
            self._fillings = settle_memory()
        self._tell(Ready(time.monotonic() - started_s, application is not None, ""))
        return self._serve(application)

    def _serve(self, application: Application | None) -> int:
        while True:
            try:
                data, descriptors, _ = receive_with_descriptors(
                    self._control, MAX_MESSAGE_BYTES, wait=True
                )
            except ConnectionError:
                return 0
            if not data:
                return 0
            message = decode_message(data)
            if isinstance(message, Spawn):
                self._spawn(message, descriptors, application)
            for descriptor in descriptors:
                os.close(descriptor)

    def _spawn(self, spawn: Spawn, descriptors: list[int], application: Application | None) -> None:
        """Fork twice: the middle process ends at once, so the worker becomes the master's child."""
        wanted = 5 if self._document.access_format else 4
        if len(descriptors) != wanted:
            text = f"{len(descriptors)} descriptors instead of {wanted}"
            self._tell(SpawnFailed(spawn.serial, text))
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or each worker would print what the import left in the buffer
        reader, writer = os.pipe()
        try:
            middle = os.fork()
        except OSError as error:
            self._tell(SpawnFailed(spawn.serial, _fork_refused(error)))
            os.close(reader)
            os.close(writer)
            return
        if middle == 0:
            os.close(reader)
            self._be_middle(spawn, descriptors, application, writer)
        os.close(writer)
        with contextlib.suppress(ChildProcessError):  # the application may ignore SIGCHLD
            os.waitpid(middle, 0)
        answer = os.read(reader, _PID.size)
        os.close(reader)
        if len(answer) == _PID.size:
            self._tell(Spawned(spawn.serial, _PID.unpack(answer)[0]))
        else:
            text = f"the second fork failed: {_MOST_PROCESSES}"
            self._tell(SpawnFailed(spawn.serial, text))

    def _be_middle(
        self,
        spawn: Spawn,
        descriptors: list[int],
        application: Application | None,
        writer: int,
    ) -> NoReturn:
        # A signal that comes between the worker's fork and its handlers waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, DRAIN_SIGNALS)
        try:
            worker = os.fork()
            if worker == 0:
                os.close(writer)
                self._be_worker(spawn, descriptors, application)
            os.write(writer, _PID.pack(worker))
        finally:
            os._exit(0)

    def _be_worker(
        self, spawn: Spawn, descriptors: list[int], application: Application | None
    ) -> NoReturn:
        control, stdout, stderr, stacks, *access = descriptors
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        self._control.close()
        link = socket.socket(fileno=control)
        access_fd = access[0] if access else None
        shared = self._shared
        run_worker(self._document, spawn, link, stacks, application, shared, access_fd)

    def _tell(self, message: Message) -> None:
        # A master that hung up in between shows itself at the next receive.
        with contextlib.suppress(ConnectionError):
            self._control.send(encode_message(message))


def _fork_refused(error: OSError) -> str:
    hint = f": {_MOST_PROCESSES}" if error.errno == errno.EAGAIN else ""
    return f"fork: {error.strerror}{hint}"
