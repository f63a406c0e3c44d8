"""What the kernel keeps of a process beside its user: limits, priority, processors, root folder.

Resolved in the master, applied in the child before exec, and looked at afterwards: the kernel says
yes to a limit or to a processor and then gives another, and a tenant without its limit is worse
than a pool that does not start.

The order matters. What root alone may do comes first (raise a limit, go below the master's nice
value or OOM score, chroot); limits take effect only in the end, since the child is a copy of the
master until then, and may need more than the pool is to have.
"""

import os
import resource
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from pyfpm.config import PoolOptions
from pyfpm.errors import SpawnError
from pyfpm.kernel.mounts import leads_out
from pyfpm.kernel.process import is_above, read_oom_score_adj

_LIMITS = {
    "rlimit_files": resource.RLIMIT_NOFILE,
    "rlimit_core": resource.RLIMIT_CORE,
    "rlimit_as": resource.RLIMIT_AS,
    "rlimit_nproc": resource.RLIMIT_NPROC,
}
_CAPABILITIES = {"process.priority": "CAP_SYS_NICE", "chroot": "CAP_SYS_CHROOT"}
_OOM_SCORE_ADJ = "/proc/self/oom_score_adj"


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, soft and hard; `value` is -1 for none."""

    key: str
    value: int


@dataclass(frozen=True, slots=True)
class Attributes:
    """None, or no limit, where the process keeps what the master has."""

    root: str | None = None
    nice: int | None = None
    oom_score_adj: int | None = None
    processors: tuple[int, ...] = ()
    limits: tuple[Limit, ...] = ()


AS_THE_MASTER = Attributes()


class RefusedError(SpawnError):
    """The kernel refused one key of a pool, or said yes and did something else."""

    def __init__(self, key: str, value: object, reason: str) -> None:
        text = "unlimited" if key in _LIMITS and value == -1 else value
        super().__init__(f"{key} = {text}: {reason}")
        self.key = key


def resolve_attributes(pool: PoolOptions, *, is_root: bool) -> Attributes:
    """What the pool asks for, as far as the master can do it.

    Without root that is what takes away; `check` has a notice for the rest (config.privileges).
    """
    nice, oom_score_adj = pool.process_priority, pool.process_oom_score_adj
    if not is_root:
        if nice is not None and nice < os.getpriority(os.PRIO_PROCESS, 0):
            nice = None
        if oom_score_adj is not None and oom_score_adj < read_oom_score_adj():
            oom_score_adj = None
    wanted = {
        "rlimit_files": pool.rlimit_files,
        "rlimit_core": pool.rlimit_core,
        "rlimit_as": pool.rlimit_as,
        "rlimit_nproc": pool.rlimit_nproc,
    }
    return Attributes(
        root=pool.chroot if is_root else None,
        nice=nice,
        oom_score_adj=oom_score_adj,
        processors=pool.process_cpu_affinity or (),
        limits=tuple(
            _permitted(Limit(key, value), is_root=is_root)
            for key, value in wanted.items()
            if value is not None
        ),
    )


def apply_as_root(attributes: Attributes, descriptors: Iterable[int]) -> None:
    """In the child, while it still is who the master is; RefusedError if it may not.

    `descriptors` are those that the program inherits.
    """
    for limit in attributes.limits:
        with _Key(limit.key, limit.value):
            _raise_hard_limit(limit)
    if attributes.nice is not None:
        with _Key("process.priority", attributes.nice):
            os.setpriority(os.PRIO_PROCESS, 0, attributes.nice)
    if attributes.oom_score_adj is not None:
        with _Key("process.oom_score_adj", attributes.oom_score_adj):
            _set_oom_score_adj(attributes.oom_score_adj)
    if attributes.processors:
        with _Key("process.cpu_affinity", attributes.processors):
            os.sched_setaffinity(0, attributes.processors)
    if attributes.root is not None:
        with _Key("chroot", attributes.root):
            _change_root(attributes.root, descriptors)


def apply_limits(attributes: Attributes) -> None:
    """In the child, in the end: nothing of this needs root any more."""
    for limit in attributes.limits:
        with _Key(limit.key, limit.value):
            resource.setrlimit(_LIMITS[limit.key], (limit.value, limit.value))


def verify(attributes: Attributes) -> None:
    """RefusedError unless all of it is as it was asked for."""
    for limit in attributes.limits:
        found = resource.getrlimit(_LIMITS[limit.key])
        if found != (limit.value, limit.value):
            raise RefusedError(limit.key, limit.value, f"the kernel made {found} of it")
    if attributes.nice is not None:
        _compare("process.priority", attributes.nice, os.getpriority(os.PRIO_PROCESS, 0))
    if attributes.processors:
        _compare(
            "process.cpu_affinity", attributes.processors, tuple(sorted(os.sched_getaffinity(0)))
        )


class _Key:
    """Turns what goes wrong inside of the block into a RefusedError that names the key."""

    def __init__(self, key: str, value: object) -> None:
        self._key, self._value = key, value

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RefusedError):
            return
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            if isinstance(error, PermissionError) and self._key in _CAPABILITIES:
                reason += f": the master needs {_CAPABILITIES[self._key]} for that"
            raise RefusedError(self._key, self._value, reason) from error
        if isinstance(error, (SpawnError, ValueError, OverflowError)):
            raise RefusedError(self._key, self._value, str(error)) from error


def _permitted(limit: Limit, *, is_root: bool) -> Limit:
    _, hard = resource.getrlimit(_LIMITS[limit.key])
    return Limit(limit.key, hard) if not is_root and is_above(limit.value, hard) else limit


def _raise_hard_limit(limit: Limit) -> None:
    soft, hard = resource.getrlimit(_LIMITS[limit.key])
    if not is_above(limit.value, hard):
        return
    try:
        resource.setrlimit(_LIMITS[limit.key], (soft, limit.value))
    except (ValueError, OSError) as error:
        # Root in a container often lacks it; and files are bounded by fs.nr_open for everybody.
        most = ", up to fs.nr_open" if limit.key == "rlimit_files" else ""
        reason = f"the hard limit is {hard}, and to raise it takes CAP_SYS_RESOURCE{most}"
        raise RefusedError(limit.key, limit.value, reason) from error


def _set_oom_score_adj(value: int) -> None:
    """Verified at once: with another root folder, /proc is what stands there."""
    own = read_oom_score_adj()
    try:
        with open(_OOM_SCORE_ADJ, "w", encoding="ascii") as file:
            file.write(str(value))
    except PermissionError as error:
        reason = f"the master's own is {own}, and to go below takes CAP_SYS_RESOURCE"
        raise RefusedError("process.oom_score_adj", value, reason) from error
    _compare("process.oom_score_adj", value, read_oom_score_adj())


def _change_root(root: str, descriptors: Iterable[int]) -> None:
    wanted = os.stat(root)
    for descriptor in descriptors:
        if _is_folder(descriptor) and leads_out(descriptor):
            raise SpawnError(
                "the folder of pyfpm itself could only be passed in a way that leads out again:"
                " a chroot takes CAP_SYS_ADMIN beside CAP_SYS_CHROOT, and a kernel or a seccomp"
                " profile that has open_tree (Linux 5.2)"
            )
    os.chroot(root)
    os.chdir("/")
    found = os.stat("/")
    if (wanted.st_dev, wanted.st_ino) != (found.st_dev, found.st_ino):
        raise SpawnError("the kernel did not change the root folder")


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _compare(key: str, wanted: object, found: object) -> None:
    if wanted != found:
        raise RefusedError(key, wanted, f"the kernel made {found} of it")
