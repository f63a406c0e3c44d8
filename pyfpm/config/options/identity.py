"""The options of a pool that say who it runs as and what it may touch."""

# ruff: noqa: RUF009  (option() makes a dataclass field, which ruff cannot know)

from dataclasses import dataclass
from typing import ClassVar

from pyfpm.config.options import kinds
from pyfpm.config.options.option import option
from pyfpm.config.values import Sandbox


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
    chroot: str | None = option(
        "chroot",
        kinds.PATH,
        "A complete root folder, with an interpreter, its libraries and `/proc` inside. `python`"
        " and `directory` are paths in it then. Only a master that is root can change the root.",
    )
    process_priority: int | None = option(
        "process.priority",
        kinds.NICE,
        "Nice value of the pool's processes, the master's unless set. Below the master's own it"
        " needs root.",
    )
    process_dumpable: bool = option(
        "process.dumpable",
        kinds.BOOLEAN,
        "Whether the pool's processes dump core, and may be traced and read by other processes of"
        " the same user.",
        default="no",
    )
    process_oom_score_adj: int | None = option(
        "process.oom_score_adj",
        kinds.OOM_SCORE_ADJ,
        "How readily the kernel kills the pool's processes when memory runs out; the master's"
        " unless set. Below the master's own it needs root.",
    )
    process_cpu_affinity: tuple[int, ...] | None = option(
        "process.cpu_affinity",
        kinds.PROCESSORS,
        "The processors that the pool may run on, such as `0-3,6`; the master's unless set.",
    )
    rlimit_files: int | None = option(
        "rlimit_files",
        kinds.FILE_LIMIT,
        "How many files each process of the pool may have open; the limit that the master was"
        " started with unless set.",
    )
    rlimit_core: int | None = option(
        "rlimit_core",
        kinds.LIMIT,
        "The largest core file, or `unlimited`; the master's limit unless set. It also needs"
        " `process.dumpable = yes`.",
    )
    rlimit_as: int | None = option(
        "rlimit_as",
        kinds.LIMIT,
        "How much address space each process of the pool may map, or `unlimited`; the master's"
        " limit unless set. That is what it maps, not what it uses: see `pm.max_memory`.",
    )
    rlimit_nproc: int | None = option(
        "rlimit_nproc",
        kinds.POSITIVE,
        "How many processes and threads the pool's user may have, those outside of the pool"
        " included; the master's limit unless set. It does not bind root.",
    )
    no_new_privs: bool = option(
        "no_new_privs",
        kinds.BOOLEAN,
        "Whether the pool can never gain privileges again, set-user-id programs included.",
        default="yes",
    )
    sandbox: Sandbox = option(
        "sandbox",
        kinds.SANDBOX,
        "Whether Landlock confines the pool's processes to what every application needs, to"
        " `directory` (for reading) and to the three lists below. With `on` a pool does not start"
        " on a kernel that lacks a part of that; with `best-effort` it goes without the part.",
        computed="`on` where one of the three lists below is set, else `off`",
        unset=Sandbox.OFF,
    )
    sandbox_read: tuple[str, ...] = option(
        "sandbox.read",
        kinds.PATHS,
        "Files, and folders with all below them, that a sandboxed pool may read besides. Several"
        " are separated by blanks or commas; double quotes hold a path with blanks together.",
        default="",
    )
    sandbox_write: tuple[str, ...] = option(
        "sandbox.write",
        kinds.PATHS,
        "What it may read, write, make, rename and remove.",
        default="",
    )
    sandbox_execute: tuple[str, ...] = option(
        "sandbox.execute",
        kinds.PATHS,
        "What it may read and start as a program. The interpreter of a script, and what a program"
        " starts itself, count on their own.",
        default="",
    )
