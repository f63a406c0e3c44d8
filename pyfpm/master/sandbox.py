"""The sandbox of a pool: Landlock, applied to the child that is about to execute its interpreter.

The rules are made in the child, after everything else of the pool's identity and right before the
exec, so that a venv's `.pth` files run inside already. What they name is what the paths mean at
that moment: a reload, which has a new zygote, is what makes changed lists, changed links and
replaced files effective. Whatever is opened before, or comes over a socket, is beyond them:
listeners, pipes, the scoreboard, the logs and their successors after a rotation.

A rule for /proc/self allows one process alone, the zygote. Its workers are other processes, and no
rule for them can be added to rules that hold already; a rule for all of /proc would open what
the kernel says of everybody's processes. So workers have no /proc/self. What pyfpm needs of it in a
worker comes from the master (messages.MemoryFile).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pyfpm.config import PoolOptions, Sandbox
from pyfpm.errors import SpawnError
from pyfpm.kernel.landlock import (
    EXECUTE,
    READ,
    WRITE,
    Ruleset,
    Support,
    missing_walls,
    read_support,
)
from pyfpm.master.grants import Grants
from pyfpm.master.interpreter_places import interpreter_places, loader_places
from pyfpm.master.places import Place, builtin_places
from pyfpm.master.survey import Survey

_PROC = "/proc/self"


@dataclass(frozen=True, slots=True)
class SandboxPlan:
    """What to confine a process to. `temporary` is its private folder, empty where it has none.

    `operator` is the master's user, whose links are as good as root's.
    """

    is_strict: bool
    python: str
    directory: str
    read: tuple[str, ...]
    write: tuple[str, ...]
    execute: tuple[str, ...]
    temporary: str
    operator: int = 0


def plan_sandbox(options: PoolOptions, temporary: str) -> SandboxPlan | None:
    """The sandbox of a pool; None where it has none."""
    if options.sandbox is Sandbox.OFF:
        return None
    return SandboxPlan(
        is_strict=options.sandbox is Sandbox.ON,
        python=options.python,
        directory=options.directory,
        read=options.sandbox_read,
        write=options.sandbox_write,
        execute=options.sandbox_execute,
        temporary=temporary,
        operator=os.geteuid(),
    )


def survey_of(plan: SandboxPlan) -> Survey:
    """Whose links and files decide what the plan means."""
    return Survey(plan.operator, (*plan.write, *([plan.temporary] if plan.temporary else ())))


def places_of(plan: SandboxPlan, survey: Survey) -> Iterator[Place]:
    """Everything that the plan allows, built-in places first."""
    yield from builtin_places(plan.directory)
    yield from interpreter_places(survey, plan.python)
    if plan.temporary:
        yield Place(plan.temporary, WRITE, "private temporary folder", "TMPDIR")
    for key, paths, access in (
        ("sandbox.read", plan.read, READ),
        ("sandbox.write", plan.write, WRITE),
        ("sandbox.execute", plan.execute, EXECUTE),
    ):
        for path in paths:
            yield Place(path, access, "", key)
    yield from loader_places(survey, plan.execute, of="sandbox.execute")


def confine(plan: SandboxPlan, package: int, support: Support | None = None) -> int | None:
    """Confine this process to the plan, for ever; no_new_privs has to be set already.

    `package` is the descriptor of the runtime's folder. Returns a descriptor that has to stay open
    for as long as the process needs its /proc/self: the kernel makes the files there anew once
    nobody holds them, and the rule is for those that there were. None where the kernel has no
    Landlock and the plan can do without.

    SpawnError where the kernel lacks a part of it, SandboxError where a listed path cannot be
    opened or somebody else decides where it leads.
    """
    support = support or read_support()
    walls = missing_walls(support)
    if walls and plan.is_strict:
        raise SpawnError(
            f"this kernel (Landlock ABI {support.abi}) does not restrict {', '.join(walls)}:"
            " set sandbox = best-effort to go without"
        )
    if not support.abi:
        return None
    ruleset = Ruleset(support)
    try:
        ruleset.allow(package, READ)
        survey = survey_of(plan)
        Grants(ruleset, survey).allow(places_of(plan, survey))
        itself = _open_itself()
        ruleset.allow(itself, READ)
        ruleset.enforce()
    finally:
        ruleset.close()
    return itself


def _open_itself() -> int:
    try:
        return os.open(_PROC, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise SpawnError(f"{_PROC}: {error.strerror}") from error
