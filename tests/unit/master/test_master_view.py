"""The policy's picture: what the master decided counts more than what a slot claims."""

from types import SimpleNamespace

import pytest

from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.view import view_of
from pyfpm.scoreboard import SLOT_BYTES, Board, SlotWriter, Stage
from pyfpm.scoreboard.slot import Word


@pytest.fixture
def board():
    return Board(memoryview(bytearray(4 * SLOT_BYTES)))


def worker_in(slot, state):
    worker = WorkerHandle(slot + 10, slot, 5.0, SimpleNamespace(hands_over=True))
    worker.state = state
    return worker


def view_one(board, state, stage, **view):
    SlotWriter(board.slot(2)).enter(stage.code, 7_000_000_000)
    (seen,) = view_of([worker_in(2, state)], board, **{"waiting": False, "room": 1, **view}).workers
    return seen


@pytest.mark.parametrize("stage", Stage)
def test_serving_worker_is_idle_or_active_as_its_slot_says(board, stage):
    """A slot that claims to be free, booting or draining hides no capacity and gives none."""
    seen = view_one(board, WorkerState.SERVING, stage)
    active = {Stage.READING, Stage.RUNNING, Stage.FINISHING, Stage.IDLE}
    assert seen.stage is (stage if stage in active else Stage.RUNNING)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize(
    ("state", "seen_as"),
    [
        (WorkerState.BOOTING, Stage.BOOTING),
        (WorkerState.DRAINING, Stage.DRAINING),
        (WorkerState.ENDING, Stage.DRAINING),
    ],
)
def test_what_the_master_decided_does_not_depend_on_the_slot(board, state, seen_as, stage):
    """A draining worker that claims to be idle is not counted as one."""
    assert view_one(board, state, stage).stage is seen_as


def test_worker_that_keeps_its_connections_does_not_hold_up_the_others(board):
    """It takes nothing of the surge, for it may stay as long as a web server likes."""
    keeping = worker_in(1, WorkerState.DRAINING)
    keeping.generation = SimpleNamespace(hands_over=False)
    assert view_of([keeping], board, waiting=False, room=1).workers == ()


def test_times_and_key_are_passed_on(board):
    """The policy retires whoever has been quiet for longest."""
    slot = SlotWriter(board.slot(2))
    slot.words[Word.STARTED_NS], slot.words[Word.BOOT_NS] = 5_000_000_000, 1_000_000_000
    seen = view_one(board, WorkerState.SERVING, Stage.IDLE)
    assert (seen.key, seen.quiet_since_s, seen.started_s) == (2, 6.0, 5.0)
    slot.begin_request(6_500_000_000, b"", 0)
    slot.end_request(250_000_000, False)
    seen = view_one(board, WorkerState.SERVING, Stage.IDLE)
    assert seen.quiet_since_s == 6.75


def test_hostile_times_do_not_raise(board):
    """A slot may hold any number."""
    words = SlotWriter(board.slot(1)).words
    for word in (Word.STAGE_SINCE_NS, Word.STARTED_NS, Word.BOOT_NS):
        words[word] = 2**64 - 1
    (seen,) = view_of([worker_in(1, WorkerState.SERVING)], board, waiting=True, room=0).workers
    assert seen.quiet_since_s > 1e9
