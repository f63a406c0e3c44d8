"""What a status page says of a pool, computed from copies of its scoreboard.

The slots are written by workers, so nothing in them is believed further than it can be true:
numbers are clamped, times lie between the epoch and now, texts become printable text only where
they are rendered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyfpm.scoreboard import NoticeCopy, SlotCopy, Stage
from pyfpm.scoreboard.refusal import Refusal

LARGEST_COUNT = 2**63 - 1
"""What the JSON readers of exporters (64-bit signed integers) can take."""
LARGEST_PID = 2**22
"""PID_MAX_LIMIT of 64-bit Linux."""
RECYCLE_REASONS = ("max_requests", "max_lifetime", "max_memory", "idle", "reload", "timeout")
RESPAWN_REASONS = ("crash", "exit", "hung", "killed")

_REFUSALS = {
    Refusal.PROTOCOL_ERROR: "protocol_errors",
    Refusal.BAD_REQUEST: "bad_requests",
    Refusal.TOO_LARGE: "too_large",
    Refusal.TIMEOUT: "timeouts",
}
_STATE_NAMES = {
    Stage.BOOTING: "Starting",
    Stage.IDLE: "Idle",
    Stage.READING: "Reading headers",
    Stage.RUNNING: "Running",
    Stage.FINISHING: "Finishing",
    Stage.DRAINING: "Ending",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStatus:
    """One worker. `letter` is its stage on a scoreboard line, `state` PHP-FPM's word for it.

    `duration_us` is the last request's duration, or how long the present one has taken so far.
    CPU (per cent of one core) and memory are those of the last request and 0 unless idle, as in
    PHP-FPM. Texts that the client sent are "" when there is none.
    """

    pid: int
    state: str
    letter: str
    start_epoch_s: int
    start_since_s: int
    requests: int
    duration_us: int
    method: str
    uri: str
    content_length: int
    user: str
    script: str
    last_cpu_percent: float
    last_memory_bytes: int
    generation: int
    requests_5xx: int
    parked: int
    handed_off: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """One pool. Counters cover ended and living workers; `parked` also what the master adopted."""

    pool: str
    process_manager: str
    start_epoch_s: int
    start_since_s: int
    accepted: int
    listen_queue: int
    max_listen_queue: int
    listen_queue_length: int
    idle: int
    active: int
    max_active: int
    max_children: int
    max_children_reached: int
    slow_requests: int
    parked: int
    generation: int
    reloads: int
    requests_5xx: int
    terminated_requests: int
    handed_off: int
    refused: int
    boot_s: float
    refusals: dict[str, int]
    state: str
    reason: str
    recycles: dict[str, int]
    respawns: dict[str, int]
    processes: tuple[ProcessStatus, ...]

    @property
    def total(self) -> int:
        """Idle and active workers; booting ones are neither."""
        return self.idle + self.active


def summarise(
    notice: NoticeCopy, slots: Sequence[SlotCopy], now_s: float, now_epoch_s: float
) -> PoolStatus:
    """Count a pool's slots; `now_s` is monotonic, as the times in the slots are."""
    used = [slot for slot in slots if slot.stage is not Stage.FREE]
    idle = sum(slot.stage is Stage.IDLE for slot in used)
    active = sum(slot.stage.is_active for slot in used)
    start_epoch_s = _past(notice.start_epoch_s, now_epoch_s)
    return PoolStatus(
        pool=notice.pool,
        process_manager=notice.process_manager,
        start_epoch_s=start_epoch_s,
        start_since_s=int(now_epoch_s) - start_epoch_s,
        accepted=_total(notice.ended_requests, (slot.requests for slot in used)),
        listen_queue=notice.listen_queue,
        max_listen_queue=max(notice.max_listen_queue, notice.listen_queue),
        listen_queue_length=notice.listen_queue_length,
        idle=idle,
        active=active,
        # The master looks now and then; this look may see more than it has seen.
        max_active=max(notice.max_active, active),
        max_children=notice.max_children,
        max_children_reached=notice.max_children_reached,
        slow_requests=notice.slow_requests,
        parked=_total(notice.adopted, (slot.parked for slot in used)),
        generation=notice.generation,
        reloads=notice.reloads,
        requests_5xx=_total(notice.ended_requests_5xx, (slot.requests_5xx for slot in used)),
        terminated_requests=notice.terminated_requests,
        handed_off=_total(notice.ended_handed_off, (slot.handed_off for slot in used)),
        refused=_total(notice.ended_refused, (slot.refused for slot in used)),
        boot_s=notice.boot_ns / 1e9,
        state=notice.state,
        reason=notice.reason,
        refusals={
            reason.value: _total(getattr(notice, f"ended_{name}"), (getattr(x, name) for x in used))
            for reason, name in _REFUSALS.items()
        },
        recycles={name: getattr(notice, f"recycles_{name}") for name in RECYCLE_REASONS},
        respawns={name: getattr(notice, f"respawns_{name}") for name in RESPAWN_REASONS},
        processes=tuple(_process(slot, now_s, now_epoch_s) for slot in used),
    )


def _process(slot: SlotCopy, now_s: float, now_epoch_s: float) -> ProcessStatus:
    idle = slot.stage is Stage.IDLE
    start_epoch_s = _past(slot.started_epoch_s, now_epoch_s)
    return ProcessStatus(
        pid=min(slot.pid, LARGEST_PID),
        state=_STATE_NAMES[slot.stage],
        letter="K" if idle and slot.parked else slot.stage.value,
        start_epoch_s=start_epoch_s,
        start_since_s=int(now_epoch_s) - start_epoch_s,
        requests=_count(slot.requests),
        duration_us=_count(int(_duration_s(slot, now_s) * 1_000_000)),
        method=_text(slot.method),
        uri=_text(slot.uri),
        content_length=_count(slot.content_length),
        user=_text(slot.user),
        script=_text(slot.script),
        last_cpu_percent=_cpu_percent(slot) if idle else 0.0,
        last_memory_bytes=_count(slot.last_memory_bytes) if idle else 0,
        generation=_count(slot.generation),
        requests_5xx=_count(slot.requests_5xx),
        parked=_count(slot.parked),
        handed_off=_count(slot.handed_off),
    )


def _duration_s(slot: SlotCopy, now_s: float) -> float:
    match slot.stage:
        case Stage.RUNNING | Stage.FINISHING:
            since_s = slot.request_started_s
        case Stage.READING | Stage.DRAINING:
            # The request's own start is entered when it runs; until then it is the one before's.
            since_s = slot.stage_since_s
        case _:
            return slot.last_duration_s
    return now_s - since_s


def _cpu_percent(slot: SlotCopy) -> float:
    if slot.last_duration_s <= 0.0:
        return 0.0
    # Many threads may well use more than one core, but no machine has 10,000.
    return min(round(100.0 * slot.last_cpu_s / slot.last_duration_s, 2), 1e6)


def _count(value: int) -> int:
    return min(max(value, 0), LARGEST_COUNT)


def _total(ended: int, living: Iterable[int]) -> int:
    return _count(ended + sum(_count(value) for value in living))


def _past(epoch_s: int, now_epoch_s: float) -> int:
    return min(epoch_s, int(now_epoch_s))


def _text(latin_1: str) -> str:
    r"""The text behind a slot's bytes: UTF-8 where they are that, `\xNN` where they are not."""
    return latin_1.encode("latin-1").decode("utf-8", "backslashreplace")
