"""The files that the master makes, logs, sockets and the pid file: what is in their way.

As all that asks about the machine, it looks and changes nothing.
"""

import os
import stat
from collections.abc import Iterator, Sequence

from pyfpm.config.accounts import person_of
from pyfpm.config.addresses import UnixAddress
from pyfpm.config.draft import Draft
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.errors import Problem
from pyfpm.kernel.folders import real_path
from pyfpm.kernel.log_path import STDERR_NAMES


def check_main(draft: Draft, main: MainOptions) -> Iterator[Problem]:
    """Those of `[pyfpm]`."""
    if main.error_log not in (*STDERR_NAMES, "syslog"):
        yield from _check_file(draft, "error_log", main.error_log)
    if main.pid is not None:
        yield from _check_file(draft, "pid", main.pid, makes_folder=True)
    yield from _check_socket(draft, "control", main.control)


def check_pool(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """Those of a pool."""
    if pool.slowlog is not None:
        yield from _check_file(draft, "slowlog", pool.slowlog)
    if pool.access_log is not None and pool.access_log not in ("stdout", "stderr"):
        yield from _check_file(draft, "access.log", pool.access_log)
    for path in sockets_of(pool) if "listen" not in draft.failed else ():
        yield from _check_socket(draft, "listen", path)


def sockets_of(pool: PoolOptions) -> list[str]:
    """The paths of the Unix sockets that a pool listens on."""
    return [address.path for address in pool.listen if isinstance(address, UnixAddress)]


def check_shared_logs(
    main_draft: Draft,
    main: MainOptions,
    pools: Sequence[tuple[Draft, PoolOptions]],
    *,
    is_root: bool,
) -> Iterator[Problem]:
    """Workers hold their access log open for writing: whatever else is in the file, they can forge.

    Pools of one user may share one; they could do as much to each other anyway.
    """
    masters = {real_path(main.error_log): f"error_log ({main_draft.header.name})"}
    for draft, pool in pools:
        if pool.slowlog is not None:
            masters[real_path(pool.slowlog)] = f"slowlog ({draft.header.name})"
    users: dict[str, tuple[int | None, str]] = {}
    for draft, pool in pools:
        path = pool.access_log
        if path is None or path in ("stdout", "stderr"):
            continue
        real = real_path(path)
        person = person_of(pool, is_root=is_root)
        uid = None if person is None else person.uid
        user, other = users.setdefault(real, (uid, draft.header.name))
        if real in masters:
            text = f"{path} is {masters[real]} too, which workers must not write; name another file"
            yield draft.problem("access.log", text)
        elif user != uid:
            text = f"{path} is that of {other} too, whose user is another; name another file"
            yield draft.problem("access.log", text)


def _check_file(
    draft: Draft, option: str, path: str, *, makes_folder: bool = False
) -> Iterator[Problem]:
    """A file that the master will make: its folder is there, and it is no folder itself.

    The last folder of the path may be missing where the master makes it, as for a socket: what is
    below /run is gone after a restart of the machine.
    """
    folder = os.path.dirname(path)
    if makes_folder and not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if os.path.isdir(path):
        yield draft.problem(option, f"{path} is a folder; name a file in it")
    elif not os.path.isdir(folder):
        yield draft.problem(option, f"there is no folder {folder}; make it, or name another file")


def _check_socket(draft: Draft, option: str, path: str) -> Iterator[Problem]:
    """A socket that will be made, with its folder if only the last one is missing."""
    above = os.path.dirname(os.path.dirname(path))
    if not os.path.isdir(os.path.dirname(path)) and not os.path.isdir(above):
        yield draft.problem(
            option, f"there is no folder {above} for {path}; make it, or listen elsewhere"
        )
    elif os.path.isdir(path) and not os.path.islink(path):
        yield draft.problem(option, f"{path} is a folder; name a socket in it")
    elif _is_there_and_no_socket(path):
        yield draft.problem(
            option,
            f"{path} is there and is no socket, so it is left alone; name another path, or remove"
            " it if nobody needs it",
        )


def _is_there_and_no_socket(path: str) -> bool:
    try:
        return not stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False
