"""The options of a pool that say who it runs as and what it may touch."""

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.options import kinds
from pyfpm.config.options.option import option, planned


@dataclass(frozen=True, kw_only=True)
class IdentityOptions:
    """Who a pool runs as. Applied before the pool's interpreter is executed."""

    __slots__ = ()
    TITLE: ClassVar[str] = "Identity and isolation"

    user: str | None = option(
        "user",
        kinds.TEXT,
        "User (name or id) of the zygote and the workers. Required when the master is root, unless"
        " it was started with `--allow-root`; without effect when the master is not root.",
    )
    group: str | None = option(
        "group", kinds.TEXT, "Group (name or id); the primary group of `user` unless set."
    )
    extra_groups: tuple[str, ...] = option(
        "extra_groups",
        kinds.WORDS,
        "Further groups, in addition to those that the user is a member of.",
        default="",
    )
    umask: int | None = option(
        "umask", kinds.UMASK, "File mode creation mask; the master's unless set."
    )
    chroot: None = planned("chroot", "A complete root folder, with the interpreter inside.")
    process_priority: None = planned("process.priority", "Nice value of the pool's processes.")
    process_dumpable: None = planned(
        "process.dumpable", "Whether the pool's processes may be traced and dump core."
    )
    process_oom_score_adj: None = planned(
        "process.oom_score_adj", "How readily the kernel kills the workers when memory runs out."
    )
    process_cpu_affinity: None = planned(
        "process.cpu_affinity", "The processors that the pool may run on."
    )
    rlimit_files: None = planned("rlimit_files", "How many files a worker may have open.")
    rlimit_core: None = planned("rlimit_core", "The largest core file of a worker.")
    rlimit_as: None = planned("rlimit_as", "How much address space a worker may map.")
    rlimit_nproc: None = planned("rlimit_nproc", "How many processes the user may have.")
    no_new_privs: bool = option(
        "no_new_privs",
        kinds.BOOLEAN,
        "Whether the pool can never gain privileges again, set-user-id programs included.",
        default="yes",
    )
    sandbox: None = planned("sandbox", "Whether Landlock confines the pool to the lists below.")
    sandbox_read: None = planned("sandbox.read", "Paths that a sandboxed pool may read.")
    sandbox_write: None = planned("sandbox.write", "Paths that a sandboxed pool may write.")
    sandbox_execute: None = planned("sandbox.execute", "Paths that a sandboxed pool may execute.")
