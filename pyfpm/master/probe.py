"""`pyfpm check` as root: a try at each pool's interpreter and folder, as the pool's user.

Mode bits say what should work; ACLs, mount options and security modules say what does. So a
child takes on the pool's identity and tries. The interpreter runs with -I -S: no code of the
pool, and none of its venv, is executed.
"""

import contextlib
import os
import signal
from typing import NoReturn

from pyfpm.config import Config, PoolOptions
from pyfpm.errors import Problem, SpawnError
from pyfpm.master.identity import apply_identity, environment_of, resolve_identity

_TIMEOUT_S = 10


def probe_identities(config: Config) -> list[Problem]:
    """A problem for every pool whose user cannot enter its directory or run its interpreter."""
    problems = []
    for name, options in config.pools.items():
        failure = _probe(options)
        if failure is not None:
            key, message = failure
            file, _, line = config.origin(f"pool:{name}", key).rpartition(":")
            known = line.isdecimal()
            problems.append(
                Problem(
                    file=file if known else config.path,
                    line=int(line) if known else None,
                    section=f"pool:{name}",
                    key=key,
                    message=message,
                )
            )
    return problems


def _probe(options: PoolOptions) -> tuple[str, str] | None:
    """The key that is wrong and what is wrong with it, or None."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _try(options, writer)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as answers:
        answer = answers.read()
    _, status = os.waitpid(pid, 0)
    if answer:
        key, _, message = answer.partition("\t")
        return key, message
    code = os.waitstatus_to_exitcode(status)
    if code == _TOO_OLD:
        return "python", f"{options.python} is older than Python 3.11; name a newer one"
    if code != _IS_PYTHON:
        ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
        return "python", f"{options.python} does not run as a Python interpreter ({ended})"
    return None


def _try(options: PoolOptions, writer: int) -> NoReturn:
    key = "user"
    try:
        signal.alarm(_TIMEOUT_S)
        identity = resolve_identity(options, is_root=True)
        apply_identity(identity)
        key = "directory"
        os.chdir(options.directory)
        key = "python"
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        argv = (options.python, "-I", "-S", "-c", _VERSION_CHECK)
        os.execve(argv[0], argv, environment_of(options, identity))  # noqa: S606 - no shell wanted
    except (OSError, SpawnError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        subject = {"directory": options.directory, "python": options.python}.get(key, options.user)
        with contextlib.suppress(OSError):
            os.write(writer, f"{key}\t{subject}: {reason}".encode())
    finally:
        os._exit(1)


# Exit codes that no other program has a reason for: /bin/true is no interpreter.
_IS_PYTHON, _TOO_OLD = 47, 48
_VERSION_CHECK = f"import sys; sys.exit({_TOO_OLD} if sys.version_info < (3, 11) else {_IS_PYTHON})"
