"""The users and groups that a configuration names: whether there are such, and none of them root's.

As all that asks about the machine, it looks and changes nothing.
"""

from collections.abc import Iterator

from pyfpm.config.accounts import find_group, find_user
from pyfpm.config.draft import Draft
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.errors import Problem


def check_main(draft: Draft, main: MainOptions) -> Iterator[Problem]:
    """Who owns the control socket."""
    yield from _check_user(draft, "control.owner", main.control_owner)
    yield from _check_group(draft, "control.group", main.control_group)


def check_pool(
    draft: Draft, pool: PoolOptions, *, is_root: bool, allow_root: bool
) -> Iterator[Problem]:
    """Whom a pool runs as, and who owns its sockets."""
    if is_root:
        yield from _check_identity(draft, pool, allow_root=allow_root)
    yield from _check_user(draft, "listen.owner", pool.listen_owner)
    yield from _check_group(draft, "listen.group", pool.listen_group)


def _check_user(draft: Draft, option: str, name: str | None) -> Iterator[Problem]:
    if name is not None and find_user(name) is None:
        yield draft.problem(option, f"there is no user {name}; create it or name another")


def _check_group(draft: Draft, option: str, name: str | None) -> Iterator[Problem]:
    if name is not None and find_group(name) is None:
        yield draft.problem(option, f"there is no group {name}; create it or name another")


def _check_identity(draft: Draft, pool: PoolOptions, *, allow_root: bool) -> Iterator[Problem]:
    yield from _check_user(draft, "user", pool.user)
    for option, name in _group_names(pool):
        yield from _check_group(draft, option, name)
    if not allow_root:
        yield from _check_not_root(draft, pool)


def _group_names(pool: PoolOptions) -> list[tuple[str, str]]:
    """Every group that the pool names, with the option that names it."""
    named = [] if pool.group is None else [("group", pool.group)]
    return named + [("extra_groups", name) for name in pool.extra_groups]


def _check_not_root(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    remedy = "name another, or start with --allow-root"
    user = None if pool.user is None else find_user(pool.user)
    if pool.user is None and "user" not in draft.failed:
        yield draft.problem(
            "user", "is required, since the master is root; name one, or start with --allow-root"
        )
    elif user is not None and user.pw_uid == 0:
        yield draft.problem("user", f"{pool.user} is root; {remedy}")
    elif user is not None and pool.group is None and user.pw_gid == 0:
        yield draft.problem(
            "user", f"the group of {pool.user} is root's; set group, or start with --allow-root"
        )
    for option, name in _group_names(pool):
        group = find_group(name)
        if group is not None and group.gr_gid == 0:
            yield draft.problem(option, f"{name} is root's group; {remedy}")
