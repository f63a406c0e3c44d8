"""The board: all slots of a pool side by side."""

from sys import byteorder

from pyfpm.scoreboard.slot import SLOT_BYTES, STAGE_AT, SlotCopy, Word, read_slot
from pyfpm.scoreboard.stage import Stage, stage_of

_IDLE = Stage.IDLE.value.encode()


class Board:
    """Slots 0 … n-1 over one mapped buffer of n × 4,096 bytes."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self.slots = len(buffer) // SLOT_BYTES

    def slot(self, index: int) -> memoryview:
        """The bytes of one slot."""
        return self._buffer[index * SLOT_BYTES : (index + 1) * SLOT_BYTES]

    def read(self, index: int) -> SlotCopy:
        """A copy of one slot."""
        return read_slot(self.slot(index))

    def stage(self, index: int) -> Stage:
        """The stage of one slot, without copying it."""
        return stage_of(self._buffer[index * SLOT_BYTES + STAGE_AT])

    def word(self, index: int, word: Word) -> int:
        """One word of one slot, without copying it; as hostile as its writer."""
        start = index * SLOT_BYTES + word * 8
        return int.from_bytes(self._buffer[start : start + 8], byteorder)

    def is_idle(self, index: int) -> bool:
        """Whether the worker of this slot waits for a request."""
        return self._buffer[index * SLOT_BYTES + STAGE_AT] == _IDLE[0]

    def pending(self, index: int) -> int:
        """How many connections of this worker are readable and not yet served."""
        return self.word(index, Word.PENDING)

    def idle_count(self, slots_in_use: int) -> int:
        """How many of the first `slots_in_use` workers are idle: one strided look at the stages.

        Only slots in use are looked at: reading a page of the memfd that nobody has written yet
        would allocate it.
        """
        stages = self._buffer[STAGE_AT : slots_in_use * SLOT_BYTES : SLOT_BYTES]
        return stages.tobytes().count(_IDLE)

    def clear(self, index: int) -> None:
        """Wipe the slot of a worker that is gone."""
        self.slot(index)[:] = bytes(SLOT_BYTES)
