"""The board: many slots side by side, looked at one by one and all at once."""

from hypothesis import given
from hypothesis import strategies as st

from pyfpm.scoreboard import SLOT_BYTES, Board, SlotWriter, Stage
from pyfpm.scoreboard.slot import STAGE_AT, Word

stage_bytes = st.one_of(st.sampled_from([stage.code for stage in Stage]), st.integers(0, 255))


def board_of(*codes):
    buffer = memoryview(bytearray(len(codes) * SLOT_BYTES))
    for index, code in enumerate(codes):
        buffer[index * SLOT_BYTES + STAGE_AT] = code
    return Board(buffer)


@given(codes=st.lists(stage_bytes, min_size=1, max_size=12), data=st.data())
def test_idle_count_equals_a_count_over_copies(codes, data):
    """The strided look sees exactly the slots that reading each of them would see."""
    board = board_of(*codes)
    in_use = data.draw(st.integers(0, board.slots))
    copies = [board.read(index) for index in range(in_use)]
    assert board.idle_count(in_use) == sum(copy.stage is Stage.IDLE for copy in copies)
    for index, copy in enumerate(copies):
        assert board.stage(index) is copy.stage
        assert board.is_idle(index) == (copy.stage is Stage.IDLE)


def test_idle_count_stops_at_the_slots_in_use():
    """A free page of the memfd must not be touched, and an idle slot beyond does not count."""
    board = board_of(Stage.IDLE.code, Stage.RUNNING.code, Stage.IDLE.code)
    assert [board.idle_count(number) for number in range(4)] == [0, 1, 1, 2]


def test_slots_do_not_reach_into_each_other():
    """A worker that fills its slot leaves its neighbours as they were."""
    board = board_of(Stage.IDLE.code, 0, Stage.IDLE.code)
    before = [board.read(0), board.read(2)]
    board.slot(1)[:] = b"\xff" * SLOT_BYTES
    assert [board.read(0), board.read(2)] == before


def test_single_words_are_those_of_a_copy():
    """`word` and `pending` answer without copying the slot, and answer the same."""
    board = board_of(0, 0)
    words = SlotWriter(board.slot(1)).words
    words[Word.PENDING] = 5
    words[Word.STAGE_SINCE_NS] = 2**64 - 1
    assert board.pending(1) == board.read(1).pending == 5
    assert board.pending(0) == 0
    assert board.word(1, Word.STAGE_SINCE_NS) == 2**64 - 1


def test_cleared_slot_is_free_again():
    """What a dead worker claimed of itself is gone, and only there."""
    board = board_of(Stage.IDLE.code, Stage.IDLE.code)
    SlotWriter(board.slot(0)).words[Word.PARKED] = 3
    board.clear(0)
    assert (board.stage(0), board.read(0).parked, board.stage(1)) == (Stage.FREE, 0, Stage.IDLE)


def test_fresh_board_is_all_free():
    """Zero bytes mean that nobody is there."""
    board = board_of(0, 0, 0)
    assert {board.stage(index) for index in range(board.slots)} == {Stage.FREE}
