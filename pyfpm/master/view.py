"""The policy's picture of a pool, taken from handles and from the scoreboard."""

from collections.abc import Iterable

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
    )


def view_of(workers: Iterable[WorkerHandle], board: Board, *, waiting: bool, room: int) -> PoolView:
    """What the master has decided about each worker, and what its slot says it is doing."""
    return PoolView(
        workers=tuple(_worker_view(worker, board) for worker in workers),
        waiting=waiting,
        room=room,
    )


def _worker_view(worker: WorkerHandle, board: Board) -> WorkerView:
    return WorkerView(
        key=worker.slot,
        stage=_stage_of(worker, board),
        quiet_since_s=board.word(worker.slot, Word.STAGE_SINCE_NS) / 1e9,
        started_s=worker.spawned_s,
    )


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
