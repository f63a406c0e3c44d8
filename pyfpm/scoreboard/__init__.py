"""The scoreboard: what every worker says of itself, and what the master says of the pool.

Two shared memory areas per pool (DESIGN 5). `board` holds one 4,096-byte slot per worker, written
by that worker alone; `notice` is one page written by the master and read by the workers. This
package knows their layout and works on buffers that the caller has mapped.
"""

from pyfpm.scoreboard.board import Board
from pyfpm.scoreboard.notice import NOTICE_BYTES, NoticeCopy, NoticeWriter, read_notice
from pyfpm.scoreboard.slot import SLOT_BYTES, SlotCopy, SlotWriter, read_slot
from pyfpm.scoreboard.stage import Stage

__all__ = [
    "NOTICE_BYTES",
    "SLOT_BYTES",
    "Board",
    "NoticeCopy",
    "NoticeWriter",
    "SlotCopy",
    "SlotWriter",
    "Stage",
    "read_notice",
    "read_slot",
]
