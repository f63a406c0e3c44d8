"""What a pool shares with its processes: board, notice and hand-off channel.

Board and notice are created, sized and sealed before any other process sees them, and outlive
reloads, so the board has slots to spare; pages of a memfd cost nothing until somebody touches
them. The channel outlives a reload only where old and new workers may hand each other connections.
"""

import os
import socket
import time
from dataclasses import fields

from pyfpm.config import PoolOptions
from pyfpm.kernel.descriptors import (
    carries_descriptors_alone,
    is_hung_up,
    unread_bytes,
)
from pyfpm.kernel.memfd import create_sealed, map_shared, seal_future_write, seal_seals
from pyfpm.master.state import SavedChannel, SavedPool
from pyfpm.master.unread import Unread
from pyfpm.scoreboard import NOTICE_BYTES, SLOT_BYTES, Board, NoticeCopy, NoticeWriter
from pyfpm.scoreboard.refusal import Refusal
from pyfpm.scoreboard.slot import Word

_LEAST_SLOTS = 1024
_SLOTS_PER_CHILD = 4
_MOST = 2**62


class HandOffChannel:
    """Both ends of a hand-off channel; the master holds them so that nothing in flight is lost."""

    def __init__(self, saved: SavedChannel | None = None) -> None:
        if saved is None:
            self.send, self.receive = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        else:
            self.send = socket.socket(fileno=saved.send)
            self.receive = socket.socket(fileno=saved.receive)
        self.send.setblocking(False)
        self.receive.setblocking(False)
        self._is_spoilt = False

    @property
    def waiting(self) -> int:
        """Connections that wait in the channel."""
        return unread_bytes(self.receive.fileno())

    @property
    def is_broken(self) -> bool:
        """Whether it was shut down, or changed, which any of its holders can do to all of them."""
        return (
            self._is_spoilt
            or is_hung_up(self.receive.fileno())
            or is_hung_up(self.send.fileno())
            or not carries_descriptors_alone(self.receive)
        )

    def spoil(self) -> None:
        """Something was in it that may not be there."""
        self._is_spoilt = True

    def close(self) -> None:
        """Give up the master's ends, before anybody else has had them."""
        for end in self.release():
            os.close(end)

    def release(self) -> tuple[int, int]:
        """The master's ends, for a disposal: anything may be in the queue of either."""
        return self.send.detach(), self.receive.detach()


class PoolMemory:
    """Board and notice of one pool, with the counters of workers that have ended.

    `unread` is what ended processes have left in their control sockets.
    """

    def __init__(self, options: PoolOptions, saved: SavedPool | None = None) -> None:
        """`saved` is the pool as the master before an exec left it.

        Its board is mapped again. Its notice cannot be: it is sealed against new writable
        mappings, and the one that there was ended with the exec. So the pool gets another, which
        processes started from now on read; older ones keep the last word of the old one.
        """
        self._taken: set[int] = set()
        self.unread = Unread()
        if saved is None:
            self.slots = max(_LEAST_SLOTS, _SLOTS_PER_CHILD * options.pm_max_children)
            self.board_fd = create_sealed(f"pyfpm-board-{options.name}", self.slots * SLOT_BYTES)
            seal_seals(self.board_fd)
        else:
            self.slots, self.board_fd = saved.slots, saved.board
            self._taken = {worker.slot for worker in saved.workers}
        size = self.slots * SLOT_BYTES
        self.board = Board(map_shared(self.board_fd, size, writable=True))
        self.notice_fd = create_sealed(f"pyfpm-notice-{options.name}", NOTICE_BYTES)
        self.notice = NoticeWriter(map_shared(self.notice_fd, NOTICE_BYTES, writable=True))
        seal_future_write(self.notice_fd)
        if saved is not None:
            known = {one.name for one in fields(NoticeCopy)}
            self.notice.publish(**{k: v for k, v in saved.notice.items() if k in known})
            return
        self.notice.publish(
            pool=options.name,
            process_manager=options.pm.value,
            start_epoch_s=int(time.time()),
            max_children=options.pm_max_children,
            state="starting",
        )

    @property
    def slots_in_use(self) -> int:
        """One more than the highest slot that is taken."""
        return max(self._taken, default=-1) + 1

    def take_slot(self) -> int | None:
        """The lowest free slot, or None if all are taken."""
        for slot in range(self.slots):
            if slot not in self._taken:
                self._taken.add(slot)
                self.notice.publish(slots_in_use=self.slots_in_use)
                return slot
        return None

    def release_slot(self, slot: int, *, broke_off: int = 0) -> None:
        """Add the counters of a worker that has ended to the pool's totals, and wipe its slot.

        `broke_off` is how many requests ended with it, 0 or 1: they count as failed ones.
        """
        copy = self.board.read(slot)
        total = self.notice.current
        self.board.clear(slot)
        self._taken.discard(slot)
        self.notice.publish(
            slots_in_use=self.slots_in_use,
            ended_requests=_sum(total.ended_requests, copy.requests + broke_off),
            ended_requests_5xx=_sum(total.ended_requests_5xx, copy.requests_5xx + broke_off),
            ended_refused=_sum(total.ended_refused, copy.refused),
            ended_handed_off=_sum(total.ended_handed_off, copy.handed_off),
            ended_protocol_errors=_sum(total.ended_protocol_errors, copy.protocol_errors),
            ended_bad_requests=_sum(total.ended_bad_requests, copy.bad_requests),
            ended_too_large=_sum(total.ended_too_large, copy.too_large),
            ended_timeouts=_sum(total.ended_timeouts, copy.timeouts),
        )

    def count_refusals(self) -> dict[Refusal | None, int]:
        """Bad input by reason, of living and ended workers; whatever the slots say, it fits.

        None are connections of clients that no list allows.
        """
        total, board = self.notice.current, self.board
        ended: tuple[tuple[Refusal | None, Word, int], ...] = (
            (None, Word.REFUSED, total.ended_refused),
            (Refusal.PROTOCOL_ERROR, Word.PROTOCOL_ERRORS, total.ended_protocol_errors),
            (Refusal.BAD_REQUEST, Word.BAD_REQUESTS, total.ended_bad_requests),
            (Refusal.TOO_LARGE, Word.TOO_LARGE, total.ended_too_large),
            (Refusal.TIMEOUT, Word.TIMEOUTS, total.ended_timeouts),
        )
        return {
            reason: _sum(count, sum(board.word(slot, word) for slot in self._taken))
            for reason, word, count in ended
        }

    def close(self) -> None:
        """Close what the master holds; mappings go with the process."""
        self.unread.close()
        for descriptor in (self.board_fd, self.notice_fd):
            os.close(descriptor)

    def discard(self) -> None:
        """The pool is not to be: close the mappings too, each of which holds a descriptor."""
        self.close()
        del self.board, self.notice


def _sum(total: int, claimed: int) -> int:
    """A worker may write any number into its slot; the total stays one that fits."""
    return min(total + claimed, _MOST)
