"""What pools of different users can do to each other by the places that they share.

There may be hundreds of pools, and this is looked at in the master's loop: each place is looked at
once, and no pool is compared with every other.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pyfpm.config.addresses import UnixAddress
from pyfpm.config.draft import Draft
from pyfpm.config.options import PoolOptions
from pyfpm.config.reach import Person, has_access_list
from pyfpm.config.values import Sandbox
from pyfpm.errors import Problem
from pyfpm.kernel.folders import real_path, way_to

Tenant = tuple[Draft, PoolOptions, Person]
"""A pool and whom it runs as."""


def notice_tenants(tenants: Sequence[Tenant]) -> Iterator[Problem]:
    """Notices between pools of different users, none of them root."""
    writers = _Writers(tenants)
    for draft, pool, person in tenants:
        other = next((one for one in tenants if one[2].uid not in (0, person.uid)), None)
        if other is not None and "listen" not in draft.failed:
            yield from _notice_folders(draft, pool, person, writers)
            yield from _notice_mode(draft, pool, other)
    yield from _notice_shared(tenants)
    yield from _notice_outside(tenants)


class _Writers:
    """Who of the tenants could exchange what stands in a folder."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self._by_uid: dict[int, list[Tenant]] = defaultdict(list)
        self._by_gid: dict[int, list[Tenant]] = defaultdict(list)
        for tenant in tenants:
            person = tenant[2]
            if person.uid != 0:
                self._by_uid[person.uid].append(tenant)
                for gid in person.gids:
                    self._by_gid[gid].append(tenant)
        self._found: dict[str, list[tuple[str, list[Tenant]]]] = {}

    def of(self, folder: str, but: Person) -> tuple[str, Tenant] | None:
        """The first place on the way to `folder` that another user can write, and who."""
        if folder not in self._found:
            self._found[folder] = list(self._look(folder))
        for place, tenants in self._found[folder]:
            for tenant in tenants:
                if tenant[2].uid != but.uid:
                    return place, tenant
        return None

    def _look(self, folder: str) -> Iterator[tuple[str, list[Tenant]]]:
        for place in way_to(folder):
            try:
                facts = os.lstat(place)
            except OSError:
                return
            if not stat.S_ISDIR(facts.st_mode):
                continue
            tenants = [*self._by_uid.get(facts.st_uid, ())]
            # In a folder with the sticky bit its owner alone may exchange what is not his; what
            # everybody can write has a notice already.
            is_open = facts.st_mode & stat.S_IWGRP
            is_bound = facts.st_mode & (stat.S_ISVTX | stat.S_IWOTH)
            if is_open and not is_bound and not has_access_list(place):
                tenants += self._by_gid.get(facts.st_gid, ())
            if tenants:
                yield place, tenants


def _notice_folders(
    draft: Draft, pool: PoolOptions, person: Person, writers: _Writers
) -> Iterator[Problem]:
    """Whoever can write the folder of a socket can be served the requests of its pool."""
    for address in pool.listen:
        if not isinstance(address, UnixAddress):
            continue
        found = writers.of(os.path.dirname(address.path), person)
        if found is not None:
            folder, (other, _, who) = found
            yield draft.problem(
                "listen",
                f"user {who.name} of pool {other.pool} can write {folder}, and so put"
                " another socket in the place of this one and get its requests; listen in a"
                " folder that root alone can write",
            )


def _notice_mode(draft: Draft, pool: PoolOptions, stranger: Tenant) -> Iterator[Problem]:
    is_open = pool.listen_mode & stat.S_IWOTH and not pool.listen_allowed_users
    if is_open and any(isinstance(address, UnixAddress) for address in pool.listen):
        other, _, person = stranger
        yield draft.problem(
            "listen.mode",
            f"{pool.listen_mode:04o} lets every user connect, {person.name} of pool {other.pool}"
            " among them, and whoever connects is believed like the web server; write 0660, or set"
            " listen.allowed_users",
        )


@dataclass(slots=True)
class _Shared:
    """A path of a `sandbox.write`, and the first that is shared with it."""

    order: int
    path: str
    real: str
    tenant: Tenant
    shared: "_Shared | None" = None

    def meet(self, other: "_Shared") -> None:
        """Remember the other one, if its pool comes first of those that share this."""
        if self.shared is None or other.order < self.shared.order:
            self.shared = other


def _notice_shared(tenants: Iterable[Tenant]) -> Iterator[Problem]:
    """Folders that two sandboxes let be written: what the one puts there, the other may use."""
    written = [
        _Shared(order, path, os.path.join(real_path(path), ""), tenant)
        for order, tenant in enumerate(tenants)
        if tenant[2].uid != 0
        for path in _written(tenant[1])
    ]
    around: list[_Shared] = []  # each holds the next, and all of them what comes now
    for one in sorted(written, key=lambda one: one.real):
        while around and not one.real.startswith(around[-1].real):
            around.pop()
        for other in around:
            if other.tenant[2].uid != one.tenant[2].uid:
                one.meet(other)
                other.meet(one)
        around.append(one)
    for one in written:
        if one.shared is not None:
            theirs, _, person = one.shared.tenant
            entry = theirs.entries["sandbox.write"]
            yield one.tenant[0].problem(
                "sandbox.write",
                f"{one.path} is also for pool {theirs.pool} of user {person.name} to write"
                f" ({entry.origin}: {one.shared.path}); give each its own folder",
            )


def _notice_outside(tenants: Iterable[Tenant]) -> Iterator[Problem]:
    """Pools whose root folder can be left through a process of the same user outside of it."""
    outside = {who.uid: draft.pool for draft, pool, who in tenants if pool.chroot is None}
    for draft, pool, person in tenants:
        if pool.chroot is not None and person.uid != 0 and person.uid in outside:
            yield draft.problem(
                "chroot",
                f"pool {outside[person.uid]} runs outside of it as user {person.name} too, and what"
                " that user's programs leave in /proc leads out; give this pool a user of its own",
            )


def _written(pool: PoolOptions) -> list[str]:
    """The paths of its list, but those that are everybody's anyway, such as /dev/shm."""
    if pool.sandbox is Sandbox.OFF or pool.chroot is not None:
        return []
    return [path for path in pool.sandbox_write if not _is_everybodys(path)]


def _is_everybodys(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH and mode & stat.S_ISVTX) or not stat.S_ISDIR(mode)
