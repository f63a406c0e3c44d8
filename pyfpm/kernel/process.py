"""Facts about processes, from /proc."""

import os
import resource

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """The resident memory of a process, shared pages included; 0 where it cannot be read."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def real_uid(pid: int) -> int | None:
    """The real user of a process; None if it is gone, or hidden from us (hidepid, proc(5)).

    Not the owner of /proc/PID, which is root for a process that may not be dumped. OSError where
    there is no descriptor left to look.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Uid:"):
                    return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
        pass
    return None


def read_oom_score_adj() -> int:
    """How readily the kernel kills this process for memory; 0 where it does not say."""
    try:
        with open("/proc/self/oom_score_adj", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def is_above(wanted: int, limit: int) -> bool:
    """Whether a resource limit is higher than another; RLIM_INFINITY, which is -1, is highest."""
    none = resource.RLIM_INFINITY
    return limit != none and (wanted == none or wanted > limit)
