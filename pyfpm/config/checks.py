"""What a configuration asks of this machine: users, folders, interpreters. Nothing is changed."""

import os
import stat
from collections.abc import Iterator, Sequence

from pyfpm.config.accounts import find_group, find_user, person_of
from pyfpm.config.addresses import UnixAddress
from pyfpm.config.draft import Draft
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.config.reach import Person, Refusal, find_refusal, locate
from pyfpm.config.root_folder import check_chroot
from pyfpm.config.values import Sandbox, format_processors
from pyfpm.errors import Problem
from pyfpm.kernel.folders import find_foreign_link, is_in_hands_of, real_path
from pyfpm.kernel.landlock import Support, missing_walls, read_support
from pyfpm.kernel.log_path import STDERR_NAMES

_IN_A_VENV = {"bin", "include", "lib", "lib64", "share", "pyvenv.cfg", ".gitignore"}


def check_main(draft: Draft, main: MainOptions) -> Iterator[Problem]:
    """The names in `[pyfpm]`."""
    yield from _check_user(draft, "control.owner", main.control_owner)
    yield from _check_group(draft, "control.group", main.control_group)
    if main.error_log not in (*STDERR_NAMES, "syslog"):
        yield from _check_file(draft, "error_log", main.error_log)
    if main.pid is not None:
        yield from _check_file(draft, "pid", main.pid, makes_folder=True)
    yield from _check_socket(draft, "control", main.control)


def check_pool(
    draft: Draft, pool: PoolOptions, *, is_root: bool, allow_root: bool
) -> Iterator[Problem]:
    """The names in one pool, and what it asks of the machine."""
    if is_root:
        yield from _check_identity(draft, pool, allow_root=allow_root)
    yield from _check_user(draft, "listen.owner", pool.listen_owner)
    yield from _check_group(draft, "listen.group", pool.listen_group)
    yield from _check_processors(draft, pool)


def check_files(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """The files that the master will make for a pool: whether something is in their way."""
    if pool.slowlog is not None:
        yield from _check_file(draft, "slowlog", pool.slowlog)
    if pool.access_log is not None and pool.access_log not in ("stdout", "stderr"):
        yield from _check_file(draft, "access.log", pool.access_log)
    for path in _sockets(pool) if "listen" not in draft.failed else ():
        yield from _check_socket(draft, "listen", path)


def _sockets(pool: PoolOptions) -> list[str]:
    return [address.path for address in pool.listen if isinstance(address, UnixAddress)]


def check_places(draft: Draft, pool: PoolOptions, *, is_root: bool) -> Iterator[Problem]:
    """The folders and files that the processes of a pool need, as its user sees them."""
    person = person_of(pool, is_root=is_root)
    if pool.chroot is not None:
        yield from check_chroot(draft, pool, person)
    else:
        if "directory" not in draft.failed:
            yield from _check_directory(draft, pool.directory, person)
        if "python" not in draft.failed:
            yield from _check_python(draft, pool.python, person)
    if pool.sandbox is not Sandbox.OFF:
        yield from _check_sandbox(draft, pool, person)


def is_of_root_alone(problem: Problem, draft: Draft, pool: PoolOptions) -> bool:
    """Whether nobody but root can have caused a problem of `check_files` or `check_places`."""
    root = "/" if pool.chroot is None else real_path(pool.chroot)
    places = {
        "listen": (_sockets(pool), "/"),
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
        for option, (paths, start) in places.items()
        if draft.problem(option, "").key == problem.key
        for path in paths
    )


def _check_processors(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """Processors that the machine has; which of them a cgroup admits shows when the pool starts."""
    there_are = os.cpu_count() or 1
    missing = tuple(number for number in pool.process_cpu_affinity or () if number >= there_are)
    if missing:
        there = f"are 0 to {there_are - 1}" if there_are > 1 else "is 0 alone"
        yield draft.problem(
            "process.cpu_affinity",
            f"there is no processor {format_processors(missing)}; the machine's {there}",
        )


def notice_sandbox(
    draft: Draft, pool: PoolOptions, support: Support | None = None
) -> Iterator[Problem]:
    """What a sandbox that makes do with less goes without; `support` is the running kernel's."""
    if pool.sandbox is not Sandbox.BEST_EFFORT:
        return
    walls = missing_walls(support or read_support())
    if walls:
        yield draft.problem(
            "sandbox", f"goes without what this kernel does not restrict: {', '.join(walls)}"
        )


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


def _check_directory(draft: Draft, path: str, person: Person | None) -> Iterator[Problem]:
    if not os.path.isdir(path):
        wrong = "is not a folder" if os.path.exists(path) else _absence(path)
        yield draft.problem("directory", f"{path} {wrong}; create it or name another")
        return
    refusal = None if person is None else find_refusal(path, person, "rx")
    if person is not None and refusal is not None:
        message = _refused(refusal, person, path)
        yield draft.problem("directory", f"{message}, or move the application elsewhere")


def _check_python(draft: Draft, path: str, person: Person | None) -> Iterator[Problem]:
    wrong = _no_python(path)
    if wrong:
        yield draft.problem("python", wrong)
        return
    refusal = None if person is None else find_refusal(path, person, "x")
    if person is None or refusal is None:
        return
    message = _refused(refusal, person, path)
    if "python" in draft.entries:
        yield draft.problem("python", f"{message}, or name an interpreter elsewhere")
    else:
        yield draft.problem(
            "python",
            f"the default is the master's own interpreter, and {message}, or set python ="
            f" to an interpreter or venv that {person.name} can reach",
        )


def _check_sandbox(draft: Draft, pool: PoolOptions, person: Person | None) -> Iterator[Problem]:
    """A rule holds for what is there when the pool starts, so its user must get to all of it."""
    root = "/" if pool.chroot is None else real_path(pool.chroot)
    where = "" if pool.chroot is None else f" inside the root folder {pool.chroot}"
    lists = {
        "sandbox.read": pool.sandbox_read,
        "sandbox.write": pool.sandbox_write,
        "sandbox.execute": pool.sandbox_execute,
    }
    for option, paths in lists.items():
        for path in paths if os.path.isdir(root) else ():
            refusal = None if person is None else find_refusal(path, person, "", root)
            if person is not None and refusal is not None:
                message = _refused(refusal, person, path, root)
                yield draft.problem(option, f"{message}{where}, or leave it out")
            elif _is_missing(locate(path, root)):
                yield draft.problem(
                    option, f"{path} does not exist{where}; create it or leave it out"
                )


def _is_missing(path: str) -> bool:
    """Whether there is nothing; what cannot be seen by who checks may be there."""
    try:
        os.stat(path)
    except PermissionError:
        return False
    except OSError:
        return True
    return False


def _no_python(path: str) -> str:
    """What is wrong with a file that can be nobody's interpreter; empty if nothing is."""
    if os.path.isfile(path):
        executable = os.stat(path).st_mode & 0o111
        return "" if executable else f"{path} is not executable; name an interpreter"
    folder = os.path.dirname(os.path.dirname(path))
    if path != os.path.join(folder, "bin", "python") or not os.path.isdir(folder):
        return f"{path} {_absence(path)}; name an interpreter or the folder of a venv"
    # `python3 -m venv` in some other folder, such as /usr, would leave a mess.
    if set(os.listdir(folder)) <= _IN_A_VENV:
        return f"{folder} is a venv without Python; make it with `python3 -m venv {folder}`"
    return f"{folder} is not a venv, it has no bin/python; name an interpreter or a venv"


def _absence(path: str) -> str:
    """Why there is nothing at a path, for this process."""
    try:
        os.stat(path)
    except PermissionError:
        return "cannot be seen by the user who checks (a folder above refuses)"
    except OSError:
        pass
    return "does not exist"


def _refused(refusal: Refusal, person: Person, path: str, root: str = "/") -> str:
    enter = "enter" if "x" in refusal.letters else "read"
    does = enter if refusal.is_folder else "execute"
    way = "" if refusal.path == path else f", on the way to {path}"
    if link := find_foreign_link({0, os.geteuid()}, path, root):
        # To open what a tenant points at would be to do what it asks for.
        return (
            f"user {person.name} cannot {does} {refusal.path} (mode {refusal.mode:04o}){way},"
            f" which the link {link} leads to; user {_name_of(link)} can change that link: look at"
            " it first"
        )
    return (
        f"user {person.name} cannot {does} {refusal.path} (mode {refusal.mode:04o}){way};"
        f" run `{refusal.remedy()}`"
    )


def _name_of(link: str) -> str:
    try:
        uid = os.lstat(link).st_uid
    except OSError:
        return "unknown"
    user = find_user(str(uid))
    return str(uid) if user is None else user.pw_name
