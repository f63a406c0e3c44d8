"""Fork and exec of a pool's interpreter: the one fork that the master does itself.

Between fork and exec the child is this process's image with somebody else's job. Signals stay
blocked until every handler is gone, since a handler of the master that ran in the child would
write into the master's wake-up pipe. SIGPIPE too is reset: an inherited SIG_IGN survives exec.
"""

import contextlib
import errno
import fcntl
import os
import resource
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from pyfpm.kernel.disposal import close_all_but
from pyfpm.kernel.forking import fork
from pyfpm.master.identity import Identity, apply_identity
from pyfpm.master.sandbox import SandboxPlan, confine
from pyfpm.messages import BootFailed, InheritedDescriptor, encode_message

EXIT_LAUNCH_FAILED = 71
_ABOVE_TARGETS = 256


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What to execute and how. `descriptors` maps the child's numbers to the master's.

    `soft_file_limit` is the RLIMIT_NOFILE that the master itself was started with. With a
    `sandbox` the program finds one more descriptor, after the highest of `descriptors`.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    identity: Identity
    descriptors: Mapping[int, int]
    soft_file_limit: int
    sandbox: SandboxPlan | None = None


def launch(plan: LaunchPlan) -> int:
    """Start the program and return its pid; OSError if there could be no fork.

    What goes wrong in the child before the exec arrives as BootFailed on the control socket.
    """
    return fork(lambda: _be_child(plan))


def _be_child(plan: LaunchPlan) -> NoReturn:
    step, where = "prepare", ""
    control = plan.descriptors[InheritedDescriptor.CONTROL]
    try:
        reset_signals()
        os.setsid()  # Ctrl-C in the master's terminal is for the master
        step = "pass descriptors"
        place_descriptors(plan.descriptors)
        control = InheritedDescriptor.CONTROL
        close_all_above(max(plan.descriptors))
        _restore_file_limit(plan.soft_file_limit)
        step = f"become {plan.identity.name or 'the user'}"
        apply_identity(plan.identity, plan.descriptors)
        where = inside(plan.identity.attributes.root)
        step = f"enter {plan.directory}"
        os.chdir(plan.directory)
        if plan.sandbox is not None:
            step = "confine"
            enter_sandbox(plan.sandbox, above=max(plan.descriptors))
        step = f"execute {plan.argv[0]}"
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(plan.argv[0], plan.argv, plan.environment)  # noqa: S606 - no shell is the point
    except OSError as error:
        _report(control, f"{step}{where}: {reason_of(error, plan.argv[0])}")
    except Exception as error:  # noqa: BLE001 - the child's boundary: say why, and end
        _report(control, f"{step}{where}: {error}")
    finally:
        os._exit(EXIT_LAUNCH_FAILED)


def reason_of(error: OSError, program: str) -> str:
    """Why `program` was not executed; a loader or `#!` line that leads nowhere is ENOENT too."""
    if (error.errno, error.filename) == (errno.ENOENT, program) and os.path.exists(program):
        return f"{error.strerror}: not the file itself, but the loader that it names"
    return error.strerror or str(error)


def inside(root: str | None) -> str:
    """What a message about a path has to add for a process with this root folder."""
    return "" if root is None else f" inside the root folder {root}"


def reset_signals() -> None:
    """In the child: no handler of the master is left; the signals are still blocked."""
    signal.set_wakeup_fd(-1)
    for signum in signal.valid_signals():
        if signum not in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(OSError, ValueError):  # numbers that libc keeps to itself
                signal.signal(signum, signal.SIG_DFL)


def place_descriptors(wanted: Mapping[int, int]) -> None:
    """Put every descriptor under its number, also where source and target numbers overlap."""
    parked = {
        target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE_TARGETS)
        for target, source in wanted.items()
    }
    for target, source in parked.items():
        os.dup2(source, target, inheritable=True)


def close_all_above(highest: int) -> None:
    """Close what the exec would close: a pool's limit may be lower than the numbers in use.

    Then nothing could be opened any more, and the sandbox, for one, opens what it allows.
    """
    close_all_but(range(highest + 1))


def enter_sandbox(sandbox: SandboxPlan, above: int) -> None:
    """The very last step: nothing that comes after it is the master's code."""
    itself = confine(sandbox, InheritedDescriptor.PACKAGE)
    if itself is not None:
        os.dup2(itself, above + 1, inheritable=True)


def _restore_file_limit(soft: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _report(control: int, reason: str) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=control) as link:
        link.send(encode_message(BootFailed(reason)))
        link.detach()
