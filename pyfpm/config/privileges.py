"""Keys that need root, in a configuration for a master that is not root: a notice for each.

What is possible without root is done; master.attributes holds the same rules, for the values.
"""

import os
import resource
from collections.abc import Iterator

from pyfpm.config.accounts import person_of
from pyfpm.config.draft import Draft
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.errors import Problem
from pyfpm.kernel.prctl import has_no_new_privs
from pyfpm.kernel.process import is_above, read_oom_score_adj

_IDENTITY = ("user", "group", "extra_groups", "chroot")


def notice_main(draft: Draft, main: MainOptions, *, is_root: bool) -> Iterator[Problem]:
    """What of `[pyfpm]` the master cannot do to itself."""
    if not is_root:
        yield from _notice_priority(draft, main.process_priority)
        yield from _notice_limit(draft, "rlimit_core", resource.RLIMIT_CORE, main.rlimit_core)
        yield from _notice_limit(draft, "rlimit_files", resource.RLIMIT_NOFILE, main.rlimit_files)


def notice_pool(draft: Draft, pool: PoolOptions, *, is_root: bool) -> Iterator[Problem]:
    """What of a pool's identity cannot be had."""
    if not pool.no_new_privs and has_no_new_privs():
        yield draft.problem(
            "no_new_privs",
            "has no effect, since the master itself was started with it: set NoNewPrivileges=no in"
            " the systemd unit, or leave no-new-privileges away where the container is started",
        )
    if is_root:
        person = person_of(pool, is_root=True)
        if pool.rlimit_nproc is not None and person is not None and person.uid == 0:
            yield draft.problem("rlimit_nproc", "has no effect, since it does not bind root")
        return
    for option in _IDENTITY:
        if option in draft.entries and draft.entries[option].text:
            yield draft.problem(option, "is ignored, since the master is not root")
    yield from _notice_priority(draft, pool.process_priority)
    own = read_oom_score_adj()
    if pool.process_oom_score_adj is not None and pool.process_oom_score_adj < own:
        yield draft.problem(
            "process.oom_score_adj",
            f"is ignored, since only root may go below the master's own ({own})",
        )
    for option, kind, wanted in (
        ("rlimit_files", resource.RLIMIT_NOFILE, pool.rlimit_files),
        # Without process.dumpable it has no effect at all, which has a notice of its own.
        ("rlimit_core", resource.RLIMIT_CORE, pool.rlimit_core if pool.process_dumpable else None),
        ("rlimit_as", resource.RLIMIT_AS, pool.rlimit_as),
        ("rlimit_nproc", resource.RLIMIT_NPROC, pool.rlimit_nproc),
    ):
        yield from _notice_limit(draft, option, kind, wanted)


def _notice_priority(draft: Draft, wanted: int | None) -> Iterator[Problem]:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    if wanted is not None and wanted < own:
        yield draft.problem(
            "process.priority", f"is ignored, since only root may go below the master's own ({own})"
        )


def _notice_limit(draft: Draft, option: str, kind: int, wanted: int | None) -> Iterator[Problem]:
    _, hard = resource.getrlimit(kind)
    if wanted is not None and is_above(wanted, hard):
        yield draft.problem(option, f"is {hard} instead, since only root may raise the hard limit")
