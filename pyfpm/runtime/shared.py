"""The worker's view of the pool's shared memory."""

from pyfpm.kernel.memfd import map_shared
from pyfpm.messages import InheritedDescriptor
from pyfpm.scoreboard import NOTICE_BYTES, SLOT_BYTES, Board, read_notice


class SharedMemory:
    """Board and notice, mapped from the inherited descriptors."""

    def __init__(self, slots: int) -> None:
        self.board = Board(map_shared(InheritedDescriptor.BOARD, slots * SLOT_BYTES, writable=True))
        self.notice = map_shared(InheritedDescriptor.NOTICE, NOTICE_BYTES, writable=False)

    def count_idle(self) -> int:
        """How many workers of the pool are idle at this moment."""
        in_use = read_notice(self.notice).slots_in_use
        return self.board.idle_count(min(in_use, self.board.slots))
