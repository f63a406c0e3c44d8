"""What options must be to each other: rules that look at values only, never at the machine.

A rule yields problems. A rule that needs an option whose text was already refused stays silent.
"""

import re
from collections.abc import Iterator

from pyfpm.config.addresses import (
    ListenAddress,
    SystemdAddress,
    TcpAddress,
    UnixAddress,
    format_address,
    open_to_all,
)
from pyfpm.config.draft import Draft
from pyfpm.config.ineffective import SANDBOX_LISTS, SPARE, find_ineffective
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.config.values import Sandbox
from pyfpm.errors import Problem
from pyfpm.policy import ProcessManager
from pyfpm.units import counted

# sun_path holds 108 bytes, the NUL at its end included (unix(7)).
_LONGEST_SOCKET_PATH = 107
_LONGEST_TEMPORARY = len(".ctl-4194304")  # with the largest pid there may be
_WORKERS = {"pm", "pm.max_children", *SPARE}
_LISTED = re.compile(r'"[^"]*"|[^\s,"]+')  # the paths of a list, with their quotes


def check_pool(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """Every rule within one pool."""
    if not draft.failed & _WORKERS:
        yield from _check_spare_servers(draft, pool)
    if not draft.failed & {"listen", "listen.allowed_clients"}:
        yield from _check_listeners(draft, pool)
    if pool.chroot is not None:
        yield from _check_paths_inside(draft)
    if pool.ping_path is not None and pool.ping_path == pool.pm_status_path:
        yield draft.problem("ping.path", "is pm.status_path too; give each its own path")
    if pool.rlimit_as == 0:
        yield draft.problem(
            "rlimit_as",
            "0 leaves no process room to start in; write 512M, say, or unlimited",
        )
    if pool.sandbox is not Sandbox.OFF and not pool.no_new_privs:
        yield draft.problem(
            "no_new_privs",
            "a sandbox needs it, or a set-user-id program would lead out; write yes, or set"
            " sandbox = off",
        )


def check_main(draft: Draft, main: MainOptions, *, daemonize: bool) -> Iterator[Problem]:
    """Every rule within `[pyfpm]`; `daemonize` is the command line's word."""
    if "control" not in draft.failed:
        yield from _check_length(draft, "control", main.control)
        yield from _check_room_beside(draft, main.control)
    if not (daemonize or main.daemonize) or draft.failed & {"daemonize", "error_log"}:
        return
    if main.error_log == "stderr":
        yield draft.problem(
            "error_log",
            "a master in the background has no terminal to report to; set error_log to a file or"
            " to syslog, or start without daemonize",
        )


def check_across(
    main: Draft,
    main_options: MainOptions,
    pools: list[tuple[Draft, PoolOptions]],
    *,
    daemonize: bool,
) -> Iterator[Problem]:
    """Every rule between pools, and between the master and its pools."""
    yield from _check_shared_addresses(pools)
    if daemonize or main_options.daemonize:
        for draft, pool in pools:
            if pool.access_log in ("stdout", "stderr"):
                yield draft.problem(
                    "access.log",
                    f"a master in the background has no {pool.access_log}; name a file, or start"
                    " without daemonize",
                )
    if any(draft.failed & _WORKERS for draft, _ in pools):
        return
    at_start = sum(pool.workers_at_start for _, pool in pools if pool.autostart)
    if 0 < main_options.process_max < at_start:
        yield main.problem(
            "process.max",
            f"{main_options.process_max} is less than the {counted(at_start, 'worker')} that the"
            " pools start with; raise it, or lower pm.start_servers or pm.max_children",
        )


def notice_pool(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """What may be set as it is, but deserves a word."""
    if pool.keepalive_max_requests:
        yield draft.problem(
            "keepalive_max_requests",
            "closing kept connections costs POSTs: the web server may just be sending the next"
            " request, and does not repeat it; write 0",
        )
    for one in find_ineffective(pool):
        if _is_own(draft, one.option):
            yield draft.problem(one.option, str(one))
    yield from _notice_allowed_users(draft, pool)
    yield from _notice_limits(draft, pool)
    yield from _notice_sandbox(draft, pool)


def _notice_allowed_users(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """Users are known of Unix sockets only."""
    addresses = pool.listen or ()
    ports = [address for address in addresses if isinstance(address, TcpAddress)]
    if pool.listen_allowed_users and 0 < len(ports) < len(addresses):
        yield draft.problem(
            "listen.allowed_users",
            f"does not hold for {format_address(ports[0])}, where every user of an admitted machine"
            " can connect; leave that address out, or set listen.allowed_clients",
        )


def _notice_limits(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    """Limits of which the first hides the second."""
    terminate, slow = pool.request_terminate_timeout, pool.request_slowlog_timeout
    if 0 < terminate <= slow and _is_own(draft, "request_slowlog_timeout"):
        yield draft.problem(
            "request_slowlog_timeout",
            f"is not below request_terminate_timeout ({terminate:g} s): no request lasts that long",
        )
    if 0 < pool.pm_max_memory_hard <= pool.pm_max_memory:
        yield draft.problem(
            "pm.max_memory",
            "is not below pm.max_memory_hard: workers are killed before they can be replaced",
        )


def _notice_sandbox(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    for path in pool.sandbox_read if pool.sandbox is not Sandbox.OFF else ():
        if path == "/proc/self" or path.startswith("/proc/self/"):
            text = (
                f"{path} is opened to the zygote alone and to no worker; list /proc, or do without"
            )
            yield draft.problem("sandbox.read", text)


def _check_paths_inside(draft: Draft) -> Iterator[Problem]:
    """A relative path starts at the folder of its file, which is outside of the root folder."""
    for option in ("directory", "python", *SANDBOX_LISTS):
        entry = draft.entries.get(option)
        text = "" if entry is None else entry.text
        for path in _LISTED.findall(text) if option in SANDBOX_LISTS else [text]:
            if path and not path.startswith(("/", '"/', "%")):
                draft.failed.add(option)
                yield draft.problem(
                    option,
                    f"{path!r} is relative; with chroot, write the path from / as it is in there",
                )


def _is_own(draft: Draft, option: str) -> bool:
    return option in draft.entries and draft.entries[option].section == draft.header.name


def _check_spare_servers(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    if pool.pm is not ProcessManager.DYNAMIC:
        return
    least, most = pool.pm_min_spare_servers, pool.pm_max_spare_servers
    children, start = pool.pm_max_children, pool.pm_start_servers

    def said(option: str, value: int, beside: str) -> str:
        """The value, and where it stands if that is not the section of what is refused."""
        entry, refused = draft.entries.get(option), draft.entries.get(beside)
        if entry is None:
            return f"{option} ({value}, its default here)"
        elsewhere = refused is not None and refused.section != entry.section
        return f"{option} ({value}, {entry.origin})" if elsewhere else f"{option} ({value})"

    for option, value in (("pm.min_spare_servers", least), ("pm.max_spare_servers", most)):
        if value > children and option in draft.entries:
            limit = said("pm.max_children", children, option)
            yield draft.problem(option, f"{value} is more than {limit}; lower it or raise that")
    if most < least:
        minimum = said("pm.min_spare_servers", least, "pm.max_spare_servers")
        yield draft.problem(
            "pm.max_spare_servers", f"{most} is less than {minimum}; raise it or lower that"
        )
    elif not least <= start <= most:
        option = "pm.start_servers"
        minimum = said("pm.min_spare_servers", least, option)
        maximum = said("pm.max_spare_servers", most, option)
        yield draft.problem(
            option,
            f"{start} is not between {minimum} and {maximum}; choose a number between them",
        )


def _check_listeners(draft: Draft, pool: PoolOptions) -> Iterator[Problem]:
    for address in pool.listen:
        match address:
            case UnixAddress(path):
                yield from _check_length(draft, "listen", path)
            case TcpAddress():
                if not address.is_loopback and not pool.listen_allowed_clients:
                    place, port = format_address(address), address.port
                    yield draft.problem("listen", open_to_all(place, f"listen on 127.0.0.1:{port}"))
            case SystemdAddress():
                pass  # the master looks at the sockets themselves when it has them


def _check_length(draft: Draft, option: str, path: str) -> Iterator[Problem]:
    size = len(path.encode(errors="surrogateescape"))
    if size > _LONGEST_SOCKET_PATH:
        yield draft.problem(
            option,
            f"{path} has {size} bytes, and a socket's path at most {_LONGEST_SOCKET_PATH};"
            " choose a shorter one",
        )


def _check_room_beside(draft: Draft, control: str) -> Iterator[Problem]:
    """The control socket is made under another name in the same folder: `.ctl-` and a pid."""
    folder, _, name = control.rpartition("/")
    longer = _LONGEST_TEMPORARY - len(name.encode(errors="surrogateescape"))
    size = len(control.encode(errors="surrogateescape"))
    if longer > 0 and size <= _LONGEST_SOCKET_PATH < size + longer:
        yield draft.problem(
            "control",
            f"{folder} is {counted(size + longer - _LONGEST_SOCKET_PATH, 'byte')} too long for the"
            " name under which the socket is made there; choose a shorter folder",
        )


def _check_shared_addresses(pools: list[tuple[Draft, PoolOptions]]) -> Iterator[Problem]:
    first: dict[ListenAddress, Draft] = {}
    for draft, pool in pools:
        for address in pool.listen or ():
            other = first.setdefault(address, draft)
            if other is not draft:
                place = other.entries["listen"].origin
                yield draft.problem(
                    "listen",
                    f"{format_address(address)} is the address of pool {other.pool} too"
                    f" ({place}); each pool needs its own",
                )
