"""How many processors this process may use: the smaller of CPU affinity and cgroup quota."""

import math
import os
from collections.abc import Iterator

_V2_ROOT = "/sys/fs/cgroup"
_V1_ROOT = "/sys/fs/cgroup/cpu"


def count_cores() -> int:
    """At least 1. A quota of one and a half processors counts as two."""
    quotas = (*_v2_quotas(), *_v1_quotas())
    return max(1, min([len(os.sched_getaffinity(0)), *(math.ceil(quota) for quota in quotas)]))


def parse_v2_quota(text: str) -> float | None:
    """Processors from a `cpu.max` of cgroup v2, such as `150000 100000`; None for `max`."""
    words = text.split()
    if len(words) != 2 or not all(word.isdigit() and int(word) for word in words):
        return None
    return int(words[0]) / int(words[1])


def parse_v1_quota(quota_us: str, period_us: str) -> float | None:
    """Processors from the two files of cgroup v1; a quota of -1 is none."""
    return parse_v2_quota(f"{quota_us.strip()} {period_us.strip()}")


def parse_cgroup_path(text: str, controller: str) -> str | None:
    """The path of `controller` in a `/proc/self/cgroup`; an empty controller means v2."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def _v2_quotas() -> Iterator[float]:
    for folder in _folders(_V2_ROOT, ""):
        quota = parse_v2_quota(_read(f"{folder}/cpu.max"))
        if quota is not None:
            yield quota


def _v1_quotas() -> Iterator[float]:
    for folder in _folders(_V1_ROOT, "cpu"):
        quota = parse_v1_quota(
            _read(f"{folder}/cpu.cfs_quota_us"), _read(f"{folder}/cpu.cfs_period_us")
        )
        if quota is not None:
            yield quota


def _folders(root: str, controller: str) -> Iterator[str]:
    """The cgroup of this process and all above it: any of them may hold the tighter quota."""
    path = parse_cgroup_path(_read("/proc/self/cgroup"), controller)
    if path is None:
        return
    while True:
        yield root + path.rstrip("/")
        if path in {"/", ""}:
            return
        path = os.path.dirname(path)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read()
    except OSError:
        return ""
