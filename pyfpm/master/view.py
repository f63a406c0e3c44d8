"""The policy's picture of a pool, taken from handles and from the scoreboard."""

from collections.abc import Iterable
from dataclasses import replace

from pyfpm.config import PoolOptions
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.policy import Limits, PoolView, WorkerView
from pyfpm.scoreboard import Board, Stage
from pyfpm.scoreboard.slot import Word

_NO_WORK = (Stage.FREE, Stage.BOOTING, Stage.DRAINING)


def limits_of(options: PoolOptions) -> Limits:
    """The numbers that the policy works within."""
    return Limits(
        pm=options.pm,
        max_children=options.pm_max_children,
        min_spare_servers=options.pm_min_spare_servers,
        max_spare_servers=options.pm_max_spare_servers,
        start_servers=options.pm_start_servers,
        max_spawn_rate=options.pm_max_spawn_rate,
        process_idle_timeout_s=options.pm_process_idle_timeout,
        reload_surge=options.pm_reload_surge.of(options.pm_max_children),
    )


def scaled_limits(limits: Limits, options: PoolOptions, workers: int) -> Limits:
    """`limits` for another number of workers, as `pyfpm scale` wants it."""
    return replace(
        limits,
        max_children=workers,
        reload_surge=options.pm_reload_surge.of(workers),
        min_spare_servers=min(limits.min_spare_servers, workers),
        max_spare_servers=min(limits.max_spare_servers, workers),
        start_servers=min(limits.start_servers, workers),
    )


def view_of(workers: Iterable[WorkerHandle], board: Board, *, waiting: bool, room: int) -> PoolView:
    """What the master has decided about each worker, and what its slot says it is doing."""
    shown = [worker for worker in workers if not _keeps(worker)]
    return PoolView(
        workers=tuple(_worker_view(worker, board) for worker in shown),
        waiting=waiting,
        room=room,
    )


def _keeps(worker: WorkerHandle) -> bool:
    """Whether it drains with its kept connections, which nobody else may take.

    That may last as long as the web server keeps them, and must not hold up the replacement of
    the others.
    """
    return worker.state is WorkerState.DRAINING and not worker.generation.hands_over


def _worker_view(worker: WorkerHandle, board: Board) -> WorkerView:
    return WorkerView(
        key=worker.slot,
        stage=_stage_of(worker, board),
        quiet_since_s=_quiet_since_s(worker, board),
        started_s=worker.spawned_s,
        due=bool(worker.due),
        outgoing=worker.replacement is not None,
    )


def _quiet_since_s(worker: WorkerHandle, board: Board) -> float:
    """The end of its last request, or of its boot.

    Not the time of its stage, which is new after every poke and every connection without a
    request: they would keep idle workers for ever.
    """
    if board.word(worker.slot, Word.REQUESTS):
        began, took = Word.REQUEST_STARTED_NS, Word.LAST_DURATION_NS
    else:
        began, took = Word.STARTED_NS, Word.BOOT_NS
    return (board.word(worker.slot, began) + board.word(worker.slot, took)) / 1e9


def _stage_of(worker: WorkerHandle, board: Board) -> Stage:
    match worker.state:
        case WorkerState.BOOTING:
            return Stage.BOOTING
        case WorkerState.DRAINING | WorkerState.ENDING:
            return Stage.DRAINING
        case WorkerState.SERVING:
            # A worker that serves and claims not to has told us through its link, or lies.
            stage = board.stage(worker.slot)
            return Stage.RUNNING if stage in _NO_WORK else stage
