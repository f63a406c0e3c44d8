"""The trial of `pyfpm check`: of each pool's identity, folder and interpreter.

Mode bits say what should work; ACLs, mount options, security modules and a foreign root folder say
what does. So a child takes on the pool's identity as its zygote will, enters the folder and the
sandbox, and lets the interpreter import pyfpm. It runs with -I -S: no code of the pool, and none of
its venv, runs.

The interpreter may be a file of the pool's user, so nothing of it is trusted: it has ten seconds,
and what it says is cut and cleaned before it reaches root's terminal.
"""

import contextlib
import os
import signal
from dataclasses import replace
from typing import NoReturn

from pyfpm.config import Config, PoolOptions, Sandbox
from pyfpm.errors import Problem, SpawnError
from pyfpm.kernel.pidfd import reap_within, send_signal
from pyfpm.master.attributes import RefusedError
from pyfpm.master.grants import SandboxError
from pyfpm.master.identity import apply_identity, environment_of, resolve_identity
from pyfpm.master.launch import enter_sandbox, inside, place_descriptors, reason_of
from pyfpm.master.package import open_package
from pyfpm.master.sandbox import plan_sandbox
from pyfpm.messages import InheritedDescriptor, rehearsal
from pyfpm.units import format_size

_TIMEOUT_S = 10.0
_DEATH_S = 1.0
_MOST_BYTES = 16 * 1024
_MOST_CHARACTERS = 300
# Exit codes that no other program has a reason for: /bin/true is no interpreter.
_IS_PYTHON, _TOO_OLD, _OURS = 47, 48, 49


def probe_pools(config: Config, timeout_s: float = _TIMEOUT_S) -> list[Problem]:
    """A problem for every pool that cannot be who it is to be, or run its interpreter so.

    Without root all pools are who the master is, and those alone are tried that give up something:
    memory, or files by a sandbox.
    """
    problems = []
    for name, options in config.pools.items():
        gives_up = options.rlimit_as is not None or options.sandbox is not Sandbox.OFF
        failure = _probe(options, timeout_s) if gives_up or os.geteuid() == 0 else None
        if failure is not None:
            problems.append(config.problem(f"pool:{name}", *failure))
    return problems


def _probe(options: PoolOptions, timeout_s: float) -> tuple[str, str] | None:
    """The key that is wrong and what is wrong with it, or None."""
    failure = _try_once(options, timeout_s)
    if failure is None or failure[0] != "python":
        return failure
    if options.rlimit_as is None or options.rlimit_as < 0:
        return failure
    if _try_once(replace(options, rlimit_as=None), timeout_s) is not None:
        return failure
    _, message = failure
    limit = format_size(options.rlimit_as)
    return "rlimit_as", f"{limit} is too little to start in: {message}; raise it"


def _try_once(options: PoolOptions, timeout_s: float) -> tuple[str, str] | None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    package = open_package()
    pid = os.fork()
    if pid == 0:
        _try(options, writer, package)
    os.close(writer)
    os.close(package)
    code = _wait(pid, timeout_s)
    os.set_blocking(reader, False)  # a grandchild may hold the other end
    said = ""
    with contextlib.suppress(BlockingIOError), os.fdopen(reader, "rb") as pipe:
        said = os.read(pipe.fileno(), _MOST_BYTES).decode(errors="replace")
    if code is None:
        return "python", f"{options.python} did not end within {timeout_s:g} s when it was tried"
    return _verdict(options, code, _clean(said))


def _verdict(options: PoolOptions, code: int, said: str) -> tuple[str, str] | None:
    python = options.python
    if code == _IS_PYTHON:
        return None
    if code == _OURS:
        key, _, message = said.partition("\t")
        return key, message
    if code == _TOO_OLD:
        return "python", f"{python} is older than Python 3.11; name a newer one"
    ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
    where = inside(options.chroot)
    words = f": {_last_line(said)}" if said.strip() else ""
    return "python", f"{python} does not run as a Python interpreter{where} ({ended}){words}"


def _last_line(said: str) -> str:
    """Where Python and the dynamic loader say what is missing."""
    return said.strip().splitlines()[-1][:_MOST_CHARACTERS]


def _clean(said: str) -> str:
    return "".join(one if one.isprintable() or one in "\t\n" else "?" for one in said)


def _wait(pid: int, timeout_s: float) -> int | None:
    """The exit code; None for a child that did not end, or that somebody keeps from being reaped.

    It is killed then. Where even that does not end it, it is left to whoever reaps after us.
    """
    pidfd = os.pidfd_open(pid)
    try:
        code = reap_within(pidfd, timeout_s)
        if code is None:
            send_signal(pidfd, signal.SIGKILL)
            reap_within(pidfd, _DEATH_S)
        return code
    finally:
        os.close(pidfd)


def _try(options: PoolOptions, writer: int, package: int) -> NoReturn:
    key, subject, where = "user", options.user, ""
    try:
        os.setsid()  # who has root's terminal may type into it (TIOCSTI)
        null = os.open(os.devnull, os.O_RDWR)
        place_descriptors({0: null, 1: null, 2: writer, InheritedDescriptor.PACKAGE: package})
        sandbox = plan_sandbox(options, "")  # which notes who the master is: not yet the pool
        identity = resolve_identity(options, is_root=os.geteuid() == 0)
        apply_identity(identity, [InheritedDescriptor.PACKAGE])
        where = inside(identity.attributes.root)
        key, subject = "directory", options.directory
        os.chdir(options.directory)
        key, subject = "sandbox", ""
        if sandbox is not None:
            enter_sandbox(sandbox, above=InheritedDescriptor.PACKAGE)
        key, subject = "python", options.python
        text = rehearsal(too_old=_TOO_OLD, complete=_IS_PYTHON)
        argv = (options.python, "-I", "-S", "-c", text)
        os.execve(argv[0], argv, environment_of(options, identity))  # noqa: S606 - no shell wanted
    except RefusedError as error:
        _say(error.key, str(error).removeprefix(f"{error.key} = "))
    except SandboxError as error:
        _say(error.key, f"{where.strip()}: {error.reason}" if where else error.reason)
    except SpawnError as error:
        _say(key, f"{subject}: {error}" if subject else str(error))
    except OSError as error:
        _say(key, f"{subject}{where}: {reason_of(error, options.python)}")
    finally:
        os._exit(_OURS)


def _say(key: str, message: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{key}\t{message}".encode())
