"""What sockets ask of this machine: who may have them, who may connect, and who rules their folder.

As all that asks about the machine, it looks and changes nothing.
"""

import os
import stat
from collections.abc import Iterator

from pyfpm.config.accounts import find_group, find_user, person_of
from pyfpm.config.addresses import UnixAddress
from pyfpm.config.draft import Draft
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.errors import Problem
from pyfpm.kernel.folders import Exposure, find_exposure, is_for_everybody
from pyfpm.kernel.peer_credentials import find_overflow_user
from pyfpm.kernel.strangers import find_strangers_link

_NO_USER = 2**32 - 1  # (uid_t)-1


def check_main(draft: Draft, main: MainOptions) -> Iterator[Problem]:
    """The folder of the control socket."""
    yield from _check_folder(draft, "control", _find_exposure(main.control))


def check_folders(draft: Draft, pool: PoolOptions, *, is_root: bool) -> Iterator[Problem]:
    """The folders of a pool's sockets."""
    for _, found in _exposures(draft, pool, is_root=is_root):
        yield from _check_folder(draft, "listen", found)


def check_pool(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """The users that may connect."""
    nobody = find_overflow_user() if pool.listen_allowed_users else None
    for name in pool.listen_allowed_users:
        if wrong := _wrong_user(name, nobody):
            yield draft.problem("listen.allowed_users", wrong)


def check_links(draft: Draft, pool: PoolOptions, *, is_root: bool) -> Iterator[Problem]:
    """Links on the way to a socket that root does not follow, since they are not root's."""
    if not is_root or "listen" in draft.failed:
        return
    for address in pool.listen:
        if isinstance(address, UnixAddress):
            link = find_strangers_link(os.path.dirname(address.path), {0})
            if link is not None:
                yield draft.problem("listen", str(link))


def notice_main(draft: Draft, main: MainOptions, *, is_root: bool) -> Iterator[Problem]:
    """What cannot be given to whom it should belong, and a folder that everybody can write."""
    if not is_root:
        yield from _notice_owner(draft, "control.owner", main.control_owner)
        yield from _notice_group(draft, "control.group", main.control_group)
    yield from _notice_folder(draft, "control", main.control, _find_exposure(main.control))
    if main.control_mode & stat.S_IWOTH:
        yield draft.problem(
            "control.mode",
            f"{main.control_mode:04o} lets every user of this machine read the status of all pools,"
            " with the addresses of their requests, and the stacks of their workers; write 0660,"
            " and set control.group",
        )


def notice_pool(draft: Draft, pool: PoolOptions, *, is_root: bool) -> Iterator[Problem]:
    """The same of a pool's sockets."""
    for path, found in _exposures(draft, pool, is_root=is_root):
        yield from _notice_folder(draft, "listen", path, found)
    if not is_root:
        yield from _notice_owner(draft, "listen.owner", pool.listen_owner)
        yield from _notice_group(draft, "listen.group", pool.listen_group)


def _exposures(
    draft: Draft, pool: PoolOptions, *, is_root: bool
) -> Iterator[tuple[str, Exposure | None]]:
    person = person_of(pool, is_root=is_root)
    for address in pool.listen if "listen" not in draft.failed else ():
        if isinstance(address, UnixAddress):
            trusted = [] if person is None else [person.uid]
            yield address.path, _find_exposure(address.path, *trusted)


def _find_exposure(path: str, *trusted: int) -> Exposure | None:
    """Who else could exchange a socket of the master, or of a pool whose user is `trusted`."""
    return find_exposure(os.path.dirname(path), {os.geteuid(), *trusted})


def _check_folder(draft: Draft, option: str, found: Exposure | None) -> Iterator[Problem]:
    """A folder that a stranger has made for us."""
    if found is not None and found.owner is not None:
        yield draft.problem(option, str(found))


def _notice_folder(
    draft: Draft, option: str, path: str, found: Exposure | None
) -> Iterator[Problem]:
    """A folder that everybody can write may be meant so, as in a container of one application."""
    if found is not None and found.owner is None:
        yield draft.problem(option, str(found))
    elif found is None and is_for_everybody(folder := os.path.dirname(path)):
        yield draft.problem(
            option,
            f"everybody can make {path} while the service is down, and be sent the requests, since"
            f" everybody may write {folder}; listen in a folder that root alone can write",
        )


def _notice_owner(draft: Draft, option: str, name: str | None) -> Iterator[Problem]:
    user = None if name is None else find_user(name)
    if user is not None and user.pw_uid != os.geteuid():
        yield draft.problem(option, "is ignored, since the master is not root")


def _notice_group(draft: Draft, option: str, name: str | None) -> Iterator[Problem]:
    group = None if name is None else find_group(name)
    if group is not None and group.gr_gid not in {os.getegid(), *os.getgroups()}:
        yield draft.problem(
            option, f"is ignored, since the master is not root and not a member of {name}"
        )


def _wrong_user(name: str, nobody: int | None) -> str:
    """What is wrong with a user of listen.allowed_users; a number needs no entry anywhere."""
    user = find_user(name)
    if user is None and not name.isdecimal():
        return f"there is no user {name}; create it or name another"
    uid = int(name) if user is None else user.pw_uid
    if uid >= _NO_USER:
        return f"{name} is no user's number; name another"
    if uid == nobody:
        return (
            f"{name} is also what the kernel says here of every user of another user namespace;"
            " name another"
        )
    return ""
