"""Going to the background: `pyfpm start -D`.

One fork and a new session. The command that was typed waits until the daemon is ready or has
ended, and ends with a code that says which: so whoever starts pyfpm from a script knows whether it
serves. Until then the daemon keeps the terminal's standard output and error, and speaks there.

    command                               daemon
    fork ───────────────────────────────▶ setsid, chdir /, standard input from /dev/null
    reads the pipe                        binds, boots, …
    one byte: ends with 0          ◀───── ready: terminal let go, one byte
    end of file: ends with the            or it ends, with a reason on the terminal and its code
    daemon's exit code

The pipe is close-on-exec, so its other end closes with the daemon and with nobody else. There is
no second fork: its only gain is that the daemon can never get a controlling terminal by opening
one, and the master opens no terminals.
"""

import contextlib
import os
import signal
import sys

EXIT_FAILED = 1
EXIT_INTERNAL = 70
_READY = b"r"
_SIGNALLED = 128  # as a shell reports a program that a signal ended
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """The daemon's tie to the command that started it, for as long as that waits."""

    def __init__(self, pipe: int) -> None:
        self._pipe: int | None = pipe

    def release(self) -> None:
        """The service is ready: let go of the terminal and let the command end."""
        if self._pipe is None:
            return
        _flush()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        pipe, self._pipe = self._pipe, None
        try:
            os.write(pipe, _READY)
        except BrokenPipeError:  # the command was killed; nobody waits
            pass
        finally:
            os.close(pipe)


def go_to_background() -> Terminal:
    """Return in the daemon. In the command that was typed it ends the process by SystemExit.

    What the process inherited is closed in the daemon: nobody means to lend a lock or a pipe to
    one for good. Relative paths mean something else afterwards.
    """
    _flush()
    reader, writer = os.pipe()
    # A signal that came between the fork and the handlers would end the command and leave the
    # daemon.
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    daemon = os.fork()
    if daemon:
        os.close(writer)
        command = _Command(daemon)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        raise SystemExit(command.wait(reader))
    os.close(reader)
    _close_inherited()
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
    return Terminal(writer)


class _Command:
    """The command that was typed. Ctrl-C there means the service, in its other session."""

    def __init__(self, daemon: int) -> None:
        self._daemon = daemon
        self._asked = 0
        for signum in _PASSED_ON:
            if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup
                signal.signal(signum, self._pass_on)

    def _pass_on(self, signum: int, frame: object) -> None:  # noqa: ARG002 - the signal module's call
        self._asked = signum
        # Reaped by nobody but `wait`, after which there is no more to wait for: the pid is its own.
        os.kill(self._daemon, signal.SIGTERM)

    def wait(self, reader: int) -> int:
        """The exit code, once the daemon is ready or has ended."""
        # Python goes on reading after a signal's handler has run (PEP 475).
        if os.read(reader, 1) == _READY and not self._asked:
            return 0
        _, status = os.waitpid(self._daemon, 0)
        if self._asked:
            return _SIGNALLED + self._asked
        return _code_of(os.waitstatus_to_exitcode(status))


def _close_inherited() -> None:
    """Close what came through exec: all that Python opens itself is close-on-exec (PEP 446)."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the folder's own descriptor is closed again
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.close(int(name))


def _code_of(code: int) -> int:
    """The command's exit code for a daemon that ended before it was ready."""
    if code > 0:
        return code  # it has said why
    if code == 0:
        _say("stopped before it was ready")
        return EXIT_FAILED
    _say(f"the daemon ended on signal {-code} ({signal.strsignal(-code)}) before it was ready")
    return EXIT_INTERNAL


def _say(message: str) -> None:
    print(f"pyfpm: start: {message}", file=sys.stderr, flush=True)  # noqa: T201


def _flush() -> None:
    """What Python still holds for the terminal; a terminal that is gone is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
