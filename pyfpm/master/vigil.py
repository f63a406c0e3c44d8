"""Watching over workers as processes: those that hang, and those that eat the machine's memory.

A worker that runs no request is in its loop and reacts to a poke by a new STAGE_SINCE_NS. One that
has been quiet for worker_hung_timeout is poked; one that does not move within the same time again
hangs. Requests have limits of their own, so a running one is never judged here, nor is what an
application does after its response was complete (stage finishing).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pyfpm.logs import Log, describe_request
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.traces import parse_stacks, render_stacks
from pyfpm.scoreboard import Board, Stage
from pyfpm.scoreboard.slot import Word

_MEMORY_S = 0.5
_DEPTH = 100
_MIB = 1024 * 1024
_NEVER = float("inf")


class Collector(Protocol):
    """Asks for the stacks of a worker; False if that is not possible now."""

    def __call__(self, worker: WorkerHandle, then: Callable[[str], None], /) -> bool:
        """`then` is called with the stacks, empty where there is no answer."""
        ...


@dataclass(slots=True)
class _Watch:
    """What is remembered of one worker."""

    since_ns: int = -1  # its STAGE_SINCE_NS, and since when that has been so
    seen_s: float = 0.0
    poked_s: float = _NEVER
    asked: bool = False
    stacks: str | None = None
    memory_s: float = 0.0  # when to look at its memory again


class Vigil:
    """Looks after the workers of one pool, one look at a time."""

    def __init__(
        self,
        board: Board,
        log: Log,
        *,
        poke: Callable[[WorkerHandle], None],
        end: Callable[[WorkerHandle, str], None],
        collect: Collector,
        resident_bytes: Callable[[int], int],
    ) -> None:
        self._board = board
        self._log = log
        self._poke = poke
        self._end = end
        self._collect = collect
        self._resident_bytes = resident_bytes
        self._watches: dict[int, _Watch] = {}

    def look(self, worker: WorkerHandle, now_s: float) -> float:
        """Judge one worker that has a pid; when to look at it again."""
        watch = self._watches.setdefault(worker.serial, _Watch())
        next_s = self._look_at_memory(worker, watch, now_s)
        if worker.state in (WorkerState.SERVING, WorkerState.DRAINING):
            next_s = min(next_s, self._look_for_life(worker, watch, now_s))
        return next_s

    def begin_anew(self) -> None:
        """Nobody was watching for a while: whoever was poked gets the whole time again."""
        for watch in self._watches.values():
            watch.since_ns = -1

    def forget_all_but(self, serials: set[int]) -> None:
        """The other workers have ended."""
        for gone in self._watches.keys() - serials:
            del self._watches[gone]

    # -- memory -----------------------------------------------------------------------------

    def _look_at_memory(self, worker: WorkerHandle, watch: _Watch, now_s: float) -> float:
        most = worker.options.pm_max_memory_hard
        if not most:
            return _NEVER
        if now_s < watch.memory_s:
            return watch.memory_s
        watch.memory_s = now_s + _MEMORY_S
        resident = self._resident_bytes(worker.pid or 0)
        if resident > most:
            self._kill_for_memory(worker, resident, most)
        return watch.memory_s

    def _kill_for_memory(self, worker: WorkerHandle, resident: int, most: int) -> None:
        slot = self._board.read(worker.slot)
        runs = slot.stage is Stage.RUNNING and worker.state is not WorkerState.BOOTING
        request = f"{slot.method} {slot.uri}" if runs else ""
        self._log.warning(
            "max_memory_hard",
            f"child {worker.pid}{', ' if runs else ''}{describe_request(request)}: "
            f"{resident / _MIB:.1f} MiB of resident memory are more than pm.max_memory_hard "
            f"({most / _MIB:.1f} MiB): killed",
            pid=worker.pid,
            request=request or None,
            resident_bytes=resident,
            limit_bytes=most,
        )
        worker.leaves_for = "max_memory"
        self._end(worker, worker.leaves_for)

    # -- life -------------------------------------------------------------------------------

    def _look_for_life(self, worker: WorkerHandle, watch: _Watch, now_s: float) -> float:
        limit_s = worker.options.worker_hung_timeout
        if not limit_s or worker.state is WorkerState.ENDING:
            return _NEVER
        busy = self._board.stage(worker.slot) in (Stage.RUNNING, Stage.FINISHING)
        since_ns = self._board.word(worker.slot, Word.STAGE_SINCE_NS)
        if busy or since_ns != watch.since_ns:
            claimed_s = since_ns / 1e9
            is_true = not busy and worker.spawned_s <= claimed_s <= now_s
            watch.since_ns, watch.seen_s = since_ns, claimed_s if is_true else now_s
            watch.poked_s = _NEVER
            watch.asked = False
        if watch.poked_s == _NEVER:
            poke_s = watch.seen_s + limit_s
            if now_s < poke_s:
                return poke_s
            watch.poked_s = now_s
            self._poke(worker)
        dead_s = watch.poked_s + limit_s
        if now_s < dead_s:
            return dead_s
        self._give_up(worker, watch, now_s)
        return now_s

    def _give_up(self, worker: WorkerHandle, watch: _Watch, now_s: float) -> None:
        """Ask for its stacks, and at a later look kill it."""

        def keep(text: str) -> None:
            watch.stacks = text

        if not watch.asked:
            watch.stacks = None
            watch.asked = self._collect(worker, keep)
        elif watch.stacks is not None:
            stacks = render_stacks(parse_stacks(watch.stacks), _DEPTH)
            quiet_s = now_s - watch.poked_s
            text = f"child {worker.pid} hangs: no reaction for {quiet_s:.0f} s: killed"
            if stacks:
                text += f"\n{stacks}"
            self._log.warning("worker_hung", text, pid=worker.pid, seconds=round(quiet_s, 3))
            worker.leaves_for = "hung"
            self._end(worker, worker.leaves_for)
