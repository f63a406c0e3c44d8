"""How workers end: the log line, the counter, and the request that ended with one."""

import signal
import time

from pyfpm.logs import Level, Log
from pyfpm.master.handles import WorkerHandle
from pyfpm.master.reaper import Death
from pyfpm.master.shared import PoolMemory
from pyfpm.scoreboard import Stage

BOOT = "boot"
HUNG = "hung"
IDLE = "idle"
MAX_LIFETIME = "max_lifetime"
RELOAD = "reload"
RESTART = "restart"
STOP = "stop"
TIMEOUT = "timeout"
UNKNOWN = "unknown"
"""What a worker says that is none of the reasons that it may have."""

CRASH_SIGNALS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL})
"""Deaths that emergency_restart_threshold counts: a process that is damaged, not one that was
told to end."""

_EXPECTED = frozenset({IDLE, STOP, RELOAD, RESTART, MAX_LIFETIME, "max_requests", "max_memory"})
_TELLING = frozenset({TIMEOUT, HUNG, "max_memory", "out_of_memory"})
_RECYCLES = {
    "max_requests": "recycles_max_requests",
    MAX_LIFETIME: "recycles_max_lifetime",
    "max_memory": "recycles_max_memory",
    "out_of_memory": "recycles_max_memory",
    IDLE: "recycles_idle",
    RELOAD: "recycles_reload",
    RESTART: "recycles_reload",
    TIMEOUT: "recycles_timeout",
}


def broken_request(worker: WorkerHandle, death: Death, memory: PoolMemory) -> str:
    """The request that ended with a worker which crashed, as its slot says; empty for none."""
    slot = memory.board.read(worker.slot)
    if death.code == 0 or not worker.was_ready or slot.stage is not Stage.RUNNING:
        return ""
    return f"{slot.method} {slot.uri}"


def log_ending(log: Log, worker: WorkerHandle, death: Death, request: str) -> None:
    """One line; nothing above DEBUG for one that left because it was to be replaced."""
    clean = death.code == 0
    expected = worker.leaves_for in _EXPECTED
    level = Level.DEBUG if expected and clean else Level.NOTICE if clean else Level.WARNING
    lived_s = time.monotonic() - worker.spawned_s
    log.write(
        level,
        "worker_ended",
        f"child {worker.pid} exited {death.text} after {lived_s:.6f} seconds from start"
        + (f", while it served {request!a}" if request else "")
        + (f" ({worker.leaves_for})" if worker.leaves_for in _TELLING else ""),
        pid=worker.pid,
        request=request or None,
        code=death.code,
        signal=death.signum,
        reason=worker.leaves_for,
    )


def count_ending(memory: PoolMemory, worker: WorkerHandle, death: Death) -> None:
    """Add one to the counter for the reason why a worker ended; none for a stop or a boot.

    One that had to be killed is no recycle, whatever the limit was that it exceeded.
    """
    counter: str | None
    if worker.leaves_for == HUNG:
        counter = "respawns_hung"
    elif worker.leaves_for and not (death.signum == signal.SIGKILL and _exceeded_a_limit(worker)):
        counter = _RECYCLES.get(worker.leaves_for)
    elif death.signum == signal.SIGKILL:
        counter = "respawns_killed"
    elif death.signum is not None:
        counter = "respawns_crash"
    else:
        counter = "respawns_exit"
    if counter is not None:
        total: int = getattr(memory.notice.current, counter)
        memory.notice.publish(**{counter: total + 1})


def _exceeded_a_limit(worker: WorkerHandle) -> bool:
    """Whether it was ended because of a limit on its requests or its memory."""
    return worker.leaves_for in (TIMEOUT, "max_memory")
