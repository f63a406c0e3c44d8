"""What a pool says of itself: in the notice that its workers read, and to the master's clients."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pyfpm.config import PoolOptions
from pyfpm.kernel.process import resident_bytes
from pyfpm.master.handles import WorkerHandle
from pyfpm.master.health import PoolState
from pyfpm.observe import PoolStatus, summarise
from pyfpm.scoreboard import Board, NoticeCopy, SlotCopy, Stage
from pyfpm.units import counted

if TYPE_CHECKING:
    from pyfpm.master.pool import Pool


def status_of(pool: "Pool") -> PoolStatus:
    """The pool as a status page shows it."""
    publish(pool)
    notice = pool.memory.notice.current
    slots = [_slot_of(worker, pool.memory.board) for worker in pool.workers.by_serial.values()]
    return summarise(notice, slots, time.monotonic(), time.time())


def stopped_status(options: PoolOptions) -> PoolStatus:
    """A pool that does not run."""
    return _closed_status(options, PoolState.STOPPED)


def late_status(options: PoolOptions, reason: str) -> PoolStatus:
    """A pool that is to run, and cannot be opened."""
    return _closed_status(options, PoolState.DEGRADED, reason)


def _closed_status(options: PoolOptions, state: PoolState, reason: str = "") -> PoolStatus:
    notice = NoticeCopy(
        pool=options.name,
        process_manager=options.pm.value,
        max_children=options.pm_max_children,
        state=state.value,
        reason=reason,
    )
    return summarise(notice, (), time.monotonic(), 0)


def draining_lines(pool: "Pool") -> list[str]:
    """A line for each worker that drains and still has something to do, with what that is."""
    lines = []
    for worker in pool.workers.by_serial.values():
        slot = pool.memory.board.read(worker.slot)
        if worker.serves or not (slot.stage is Stage.RUNNING or slot.parked):
            continue
        held = counted(slot.parked, "parked connection")
        busy = f"{slot.method} {slot.uri}" if slot.stage is Stage.RUNNING else held
        lines.append(f"pool {pool.name}: child {worker.pid} drains: {busy}")
    return lines


def publish(pool: "Pool") -> None:
    """Bring the notice up to date."""
    notice = pool.memory.notice
    queues = pool.demand.queues()
    waiting = sum(queue.waiting for queue in queues)
    workers = pool.workers.by_serial.values()
    active = sum(pool.memory.board.stage(worker.slot).is_active for worker in workers)
    notice.publish(
        state=_state_of(pool).value,
        reason=_reason_of(pool),
        process_manager=pool.limits.pm.value,
        max_children=pool.limits.max_children,
        generation=pool.generation.number,
        adopted=pool.demand.adopted,
        boot_ns=_bounded_ns(pool.generation.zygotes.boot_s or pool.workers.boot_s),
        listen_queue=waiting,
        max_listen_queue=max(notice.current.max_listen_queue, waiting),
        listen_queue_length=sum(queue.limit for queue in queues),
        max_active=max(notice.current.max_active, active),
    )


def _reason_of(pool: "Pool") -> str:
    if pool.health.reason or not pool.reload_failure:
        return pool.health.reason or pool.generation.zygotes.remark
    return f"the last reload failed: {pool.reload_failure}"


def _state_of(pool: "Pool") -> PoolState:
    changes = pool.changing.locked() and pool.health.state is PoolState.RUNNING
    return PoolState.RELOADING if changes else pool.health.state


def _slot_of(worker: WorkerHandle, board: Board) -> SlotCopy:
    """What the worker's slot says, but the pid and the memory as the kernel has them."""
    copy = board.read(worker.slot)
    pid = worker.pid or copy.pid  # before the zygote's report, the worker's own word
    stage = Stage.BOOTING if pid and copy.stage is Stage.FREE else copy.stage
    memory_bytes = resident_bytes(pid) if pid else 0
    return replace(copy, pid=pid, stage=stage, last_memory_bytes=memory_bytes)


def _bounded_ns(boot_s: float) -> int:
    """A boot time that a process reported, as a number that fits."""
    return int(max(0.0, min(boot_s, 1e9)) * 1e9)
