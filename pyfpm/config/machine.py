"""What a configuration asks of this machine: users, paths, files, kernel. Nothing is changed.

What root wrote is looked at by `rules`, without the machine; here each part of it has its module.
"""

from collections.abc import Sequence
from itertools import chain

from pyfpm.config import (
    dangers,
    equipment,
    listening,
    made_files,
    names,
    places,
    privileges,
    root_folder,
    tenants,
    trust,
)
from pyfpm.config.accounts import person_of
from pyfpm.config.draft import Draft
from pyfpm.config.findings import Findings
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.errors import Problem, reason_of
from pyfpm.kernel.folders import is_in_hands_of, real_path

Pools = Sequence[tuple[Draft, PoolOptions]]


def check_machine(
    found: Findings,
    files: Sequence[str],
    main: tuple[Draft, MainOptions],
    pools: Pools,
    *,
    is_root: bool,
    allow_root: bool,
    spares_others: bool,
    spares_all: bool,
) -> None:
    """Everything; `files` are those of the configuration, what else comes in is as `load_config`.

    With `spares_others` problems of single pools come apart; where every pool has one, only with
    `spares_all` as well.
    """
    found.problems += trust.check_files(files, is_root=is_root, allow_root=allow_root)
    found.notices += trust.notice_files(files, is_root=is_root, allow_root=allow_root)
    _check_main(found, *main, is_root=is_root)
    found.problems += made_files.check_shared_logs(*main, pools, is_root=is_root)
    own = _check_places(found, pools, is_root=is_root, spares_others=spares_others)
    if len(own) < len(pools) or spares_all:
        found.own_problems += chain.from_iterable(own.values())
    else:
        found.problems += chain.from_iterable(own.values())
    for draft, pool in pools:
        _check_pool(found, draft, pool, is_root=is_root, allow_root=allow_root)
    _notice_dangers(found, files, pools, is_root=is_root)


def _check_main(found: Findings, draft: Draft, main: MainOptions, *, is_root: bool) -> None:
    found.problems += names.check_main(draft, main)
    found.problems += made_files.check_main(draft, main)
    found.problems += listening.check_main(draft, main)
    found.notices += listening.notice_main(draft, main, is_root=is_root)
    found.notices += privileges.notice_main(draft, main, is_root=is_root)


def _check_pool(
    found: Findings, draft: Draft, pool: PoolOptions, *, is_root: bool, allow_root: bool
) -> None:
    found.problems += names.check_pool(draft, pool, is_root=is_root, allow_root=allow_root)
    found.problems += equipment.check_pool(draft, pool)
    found.problems += listening.check_pool(draft, pool)
    found.notices += listening.notice_pool(draft, pool, is_root=is_root)
    found.notices += equipment.notice_pool(draft, pool)
    found.notices += privileges.notice_pool(draft, pool, is_root=is_root)
    found.notices += root_folder.notice_chroot(draft, pool)


def _check_places(
    found: Findings, pools: Pools, *, is_root: bool, spares_others: bool
) -> dict[str, list[Problem]]:
    """What is wrong with the places of a pool, where others can have done it, by pool."""
    own: dict[str, list[Problem]] = {}
    for draft, pool in pools:
        for problem in _place_problems(draft, pool, is_root=is_root):
            if is_root and spares_others and not _is_of_root_alone(problem, draft, pool):
                own.setdefault(pool.name, []).append(problem)
            else:
                found.problems.append(problem)
    return own


def _place_problems(draft: Draft, pool: PoolOptions, *, is_root: bool) -> list[Problem]:
    try:
        return [
            *made_files.check_pool(draft, pool),
            *places.check_pool(draft, pool, is_root=is_root),
            *listening.check_folders(draft, pool, is_root=is_root),
            *listening.check_links(draft, pool, is_root=is_root),
        ]
    except OSError as error:  # it changed while it was looked at
        return [draft.problem("directory", f"look at its places: {reason_of(error)}")]


def _is_of_root_alone(problem: Problem, draft: Draft, pool: PoolOptions) -> bool:
    """Whether nobody but root can have caused a problem of one of the places of a pool."""
    root = "/" if pool.chroot is None else real_path(pool.chroot)
    wanted = {
        "listen": (made_files.sockets_of(pool), "/"),
        "slowlog": ([pool.slowlog or "/"], "/"),
        "access.log": ([pool.access_log or "/"], "/"),
        "directory": ([pool.directory], root),
        "python": ([pool.python], root),
        "chroot": ([pool.chroot or "/"], "/"),
        "sandbox.read": (pool.sandbox_read, root),
        "sandbox.write": (pool.sandbox_write, root),
        "sandbox.execute": (pool.sandbox_execute, root),
    }
    return all(
        is_in_hands_of({0}, path, start)
        for option, (paths, start) in wanted.items()
        if draft.problem(option, "").key == problem.key
        for path in paths
    )


def _notice_dangers(found: Findings, files: Sequence[str], pools: Pools, *, is_root: bool) -> None:
    """What is possible and hardly meant."""
    people = [(draft, pool, person_of(pool, is_root=is_root)) for draft, pool in pools]
    known = [dangers.Whereabouts.of(file) for file in files]
    for draft, pool, person in people:
        found.notices += dangers.notice_pool(draft, pool, person, known)
    found.notices += dangers.notice_default_directories(people)
    known_people = [(draft, pool, person) for draft, pool, person in people if person is not None]
    found.notices += tenants.notice_tenants(known_people)
