"""The time limits of requests, a ladder that a request climbs while it does not end (DESIGN 5).

    runs for request_slowlog_timeout       its stacks go to the slow log
    runs for request_terminate_timeout     its stacks if they are not fresh, then RequestTimeout
    request_terminate_grace after that     SIGKILL

A request is one value of REQUEST_STARTED_NS in the slot of one worker; each rung is climbed once.
Nothing is armed per request: the ladder looks at the slots, and says when the next look is due. No
limit can be crossed before that, neither by a request that runs nor by one that begins right after
the look. Stacks arrive some time after they were asked for, and by then the request may have ended:
so whatever follows them is left to the next look, which sees for itself what runs.

What the slots say is the workers' own word. A start in the future or before the worker's own is
replaced by the time at which the master first saw it; whatever else a worker writes there speeds up
or puts off its own end only.

`Vigil` watches over workers that run no request.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from pyfpm.logs import Log, SlowEntry, describe_request
from pyfpm.master.acts import Acts
from pyfpm.master.budget import Budget
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.traces import parse_stacks, render_stacks
from pyfpm.master.vigil import Vigil
from pyfpm.scoreboard import Board, NoticeWriter, SlotCopy, Stage
from pyfpm.scoreboard.slot import Word
from pyfpm.units import counted

LEAST_PAUSE_S = 0.05
_REPEAT_S = 0.1
_FRESH_S = 1.0
_MOST_LATE_S = 1.0
_NO_STACKS = "  (the worker did not answer when its stacks were asked for)"
_ENDED = "  (the request ended while its stacks were taken)"
_NEVER = float("inf")
# A worker decides when its request began and what its stacks look like. So entries are paid for:
# many at once, since a slow database makes a whole pool slow, but not many for ever.
_ENTRIES = 200.0
_ENTRIES_PER_S = 1.0
_ENTRY_BYTES = 16 * 1024
_SAY_EVERY_S = 10.0


class Shared(Protocol):
    """The part of PoolMemory that the ladder needs."""

    board: Board
    notice: NoticeWriter


class Entries(Protocol):
    """The part of SlowLog that the ladder needs."""

    def write(self, entry: SlowEntry, /) -> None:
        """Write one entry."""
        ...


@dataclass(slots=True)
class _Climb:
    """How far one request has climbed."""

    request_ns: int
    seen_s: float
    logged: bool = False
    stacks_s: float = -_NEVER  # when its stacks were waited for last
    witnessed: bool = False  # they were taken for the second rung
    interrupted_s: float = _NEVER


class Ladder:
    """Holds the requests and workers of one pool to their limits, each to those of its options."""

    def __init__(self, shared: Shared, log: Log, slow_log: Entries, acts: Acts) -> None:
        self.slow_log = slow_log
        self._shared = shared
        self._board = shared.board
        self._log = log
        self._acts = acts
        self._climbs: dict[int, _Climb] = {}
        self._collecting: set[int] = set()
        self._vigil = Vigil(
            shared.board,
            log,
            poke=acts.poke,
            end=acts.end,
            collect=self._collect,
            resident_bytes=acts.resident_bytes,
        )
        self._planned_s = _NEVER
        self._now_s = 0.0
        self._budget = Budget(_ENTRIES_PER_S, _ENTRIES, lambda: self._now_s)
        self._unwritten = 0
        self._said_s = -_NEVER

    def save(self) -> dict[str, dict[str, Any]]:
        """How far each worker's request has climbed, by serial, for the next master."""
        return {str(serial): asdict(climb) for serial, climb in self._climbs.items()}

    def resume(self, saved: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on where the ladder of the master before an exec was.

        Stacks that were asked for then do not come any more.
        """
        known = {one.name for one in fields(_Climb)}
        for serial, climb in saved.items():
            values = {name: value for name, value in climb.items() if name in known}
            self._climbs[int(serial)] = _Climb(**values)

    def look(self, workers: Iterable[WorkerHandle], now_s: float) -> float | None:
        """Do what is due, and say when to look again (monotonic); None: no limit is set.

        `workers` are all of the pool. It may be called earlier, too.
        """
        if now_s > self._planned_s + _MOST_LATE_S:
            # This process stood still, and so perhaps did the workers: a paused container.
            self._vigil.begin_anew()
        self._now_s = now_s
        self._say_unwritten()
        next_s = _NEVER
        present = list(workers)
        self._forget_all_but({worker.serial for worker in present})
        for worker in present:
            if worker.pid is None or worker.state is WorkerState.ENDING:
                continue
            next_s = min(next_s, self._vigil.look(worker, now_s))
            if worker.state in (WorkerState.SERVING, WorkerState.DRAINING):
                next_s = min(next_s, self._look_at_request(worker, now_s))
        next_s = max(next_s, now_s + LEAST_PAUSE_S)
        self._planned_s = next_s
        return None if next_s == _NEVER else next_s

    def _forget_all_but(self, serials: set[int]) -> None:
        for gone in self._climbs.keys() - serials:
            del self._climbs[gone]
        self._collecting &= serials
        self._vigil.forget_all_but(serials)

    # -- one request ------------------------------------------------------------------------

    def _look_at_request(self, worker: WorkerHandle, now_s: float) -> float:
        """Climb as far as is due; when the next limit can be crossed at the earliest."""
        options = worker.options
        slow_s = options.request_slowlog_timeout or _NEVER
        terminate_s = options.request_terminate_timeout or _NEVER
        next_s = now_s + min(slow_s, terminate_s)
        # The stage first: whatever request is found after it began no later than the one that ran.
        if next_s == _NEVER or self._board.stage(worker.slot) is not Stage.RUNNING:
            return next_s
        climb = self._climb_of(worker, now_s)
        started_s = self._start_of(worker, climb)
        if worker.serial in self._collecting:
            climb.stacks_s = now_s
            return now_s + LEAST_PAUSE_S
        if now_s >= started_s + slow_s and not climb.logged:
            climb.logged = True
            notice = self._shared.notice
            notice.publish(slow_requests=notice.current.slow_requests + 1)
            self._take_stacks(worker, climb, now_s)
            return now_s + LEAST_PAUSE_S
        until_s = max(started_s + terminate_s, self._extended_until_s(worker, climb))
        if now_s < until_s:
            climb.interrupted_s = _NEVER  # extended after it was interrupted, which had no effect
            due_s = until_s if climb.logged else min(until_s, started_s + slow_s)
            return min(next_s, due_s)
        return min(next_s, self._end_request(worker, climb, now_s))

    def _climb_of(self, worker: WorkerHandle, now_s: float) -> _Climb:
        request_ns = self._board.word(worker.slot, Word.REQUEST_STARTED_NS)
        climb = self._climbs.get(worker.serial)
        if climb is None or climb.request_ns != request_ns:
            climb = self._climbs[worker.serial] = _Climb(request_ns, now_s)
        return climb

    @staticmethod
    def _start_of(worker: WorkerHandle, climb: _Climb) -> float:
        claimed_s = climb.request_ns / 1e9
        return claimed_s if worker.spawned_s <= claimed_s <= climb.seen_s else climb.seen_s

    def _extended_until_s(self, worker: WorkerHandle, climb: _Climb) -> float:
        if self._board.word(worker.slot, Word.EXTENDED_REQUEST_NS) != climb.request_ns:
            return -_NEVER
        return self._board.word(worker.slot, Word.EXTENDED_UNTIL_NS) / 1e9

    def _end_request(self, worker: WorkerHandle, climb: _Climb, now_s: float) -> float:
        """It is past request_terminate_timeout; when to look again."""
        if climb.interrupted_s == _NEVER:
            if now_s - climb.stacks_s > _FRESH_S and not climb.witnessed:
                climb.witnessed = True
                self._take_stacks(worker, climb, now_s)
                return now_s + LEAST_PAUSE_S
            climb.interrupted_s = now_s
            self._say(worker, climb, now_s, "request_timeout", "executing too slow", "interrupting")
            notice = self._shared.notice
            notice.publish(terminated_requests=notice.current.terminated_requests + 1)
        kill_s = climb.interrupted_s + worker.options.request_terminate_grace
        if now_s < kill_s:
            # Again and again: Python may notice a signal only after the system call before which
            # it came. The worker itself sees to it that a request is interrupted once.
            self._acts.interrupt(worker)
            return min(kill_s, now_s + _REPEAT_S)
        self._say(worker, climb, now_s, "request_killed", "does not end", "killed")
        worker.leaves_for = "timeout"
        self._acts.end(worker, worker.leaves_for)
        return _NEVER

    def _say(
        self, worker: WorkerHandle, climb: _Climb, now_s: float, event: str, what: str, done: str
    ) -> None:
        request = request_of(self._board.read(worker.slot))
        lasts_s = now_s - self._start_of(worker, climb)
        self._log.warning(
            event,
            f"child {worker.pid}, {describe_request(request)}: {what} ({lasts_s:.1f} s): {done}",
            pid=worker.pid,
            request=request,
            seconds=round(lasts_s, 3),
        )

    # -- stacks -----------------------------------------------------------------------------

    def _take_stacks(self, worker: WorkerHandle, climb: _Climb, now_s: float) -> None:
        """Write an entry of the slow log, as soon as the worker has told its stacks."""
        climb.stacks_s = now_s
        if self._budget.left <= 0:
            self._unwritten += 1
            return
        request = request_of(self._board.read(worker.slot))
        lasts_s = now_s - self._start_of(worker, climb)

        def write(text: str) -> None:
            depth = worker.options.request_slowlog_trace_depth
            stacks = render_stacks(parse_stacks(text), depth) if text else _NO_STACKS
            if self._board.word(worker.slot, Word.REQUEST_STARTED_NS) != climb.request_ns:
                stacks += f"\n{_ENDED}"
            self._budget.take(1 + len(stacks) / _ENTRY_BYTES)
            self.slow_log.write(SlowEntry(worker.pid or 0, request, lasts_s, stacks))

        self._collect(worker, write)

    def _say_unwritten(self) -> None:
        if self._unwritten and self._now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = self._now_s
            text = (
                f"{counted(self._unwritten, 'slow request')} without an entry: there were too many"
            )
            self._log.warning("slow_requests", text, count=self._unwritten)
            self._unwritten = 0

    def _collect(self, worker: WorkerHandle, then: Callable[[str], None]) -> bool:
        """Ask for stacks; False if somebody else waits for the answer of this worker."""
        if worker.serial in self._collecting:
            return False
        self._collecting.add(worker.serial)

        def collected(text: str) -> None:
            if worker.serial in self._collecting:  # not forgotten meanwhile
                self._collecting.discard(worker.serial)
                then(text)

        self._acts.collect(worker, collected)
        return True


def request_of(slot: SlotCopy) -> str:
    """The request line as the slot has it."""
    return f"{slot.method} {slot.uri}"
