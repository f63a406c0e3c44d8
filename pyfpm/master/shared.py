"""What a pool shares with its processes: board, notice and hand-off channel.

Created, sized and sealed before any other process sees them. The board outlives reloads, so it
has slots to spare; pages of a memfd cost nothing until somebody touches them.
"""

import os
import socket
import time

from pyfpm.config import PoolOptions
from pyfpm.kernel.descriptors import unread_bytes
from pyfpm.kernel.memfd import create_sealed, map_shared, seal_future_write, seal_seals
from pyfpm.scoreboard import NOTICE_BYTES, SLOT_BYTES, Board, NoticeWriter

_LEAST_SLOTS = 256
_SLOTS_PER_CHILD = 4
_MOST = 2**62


class PoolMemory:
    """Board, notice and channel of one pool, with the counters of workers that have ended."""

    def __init__(self, options: PoolOptions) -> None:
        self.slots = max(_LEAST_SLOTS, _SLOTS_PER_CHILD * options.pm_max_children)
        size = self.slots * SLOT_BYTES
        self.board_fd = create_sealed(f"pyfpm-board-{options.name}", size)
        seal_seals(self.board_fd)
        self.board = Board(map_shared(self.board_fd, size, writable=True))
        self.notice_fd = create_sealed(f"pyfpm-notice-{options.name}", NOTICE_BYTES)
        self.notice = NoticeWriter(map_shared(self.notice_fd, NOTICE_BYTES, writable=True))
        seal_future_write(self.notice_fd)
        self.channel_send, self.channel_receive = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self.channel_send.setblocking(False)
        self.channel_receive.setblocking(False)
        self._taken: set[int] = set()
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

    @property
    def handed_off(self) -> int:
        """Connections that wait in the channel."""
        return unread_bytes(self.channel_receive.fileno())

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
            ended_handed_off=_sum(total.ended_handed_off, copy.handed_off),
            ended_protocol_errors=_sum(total.ended_protocol_errors, copy.protocol_errors),
        )

    def close(self) -> None:
        """Close what the master holds; mappings go with the process."""
        for descriptor in (self.board_fd, self.notice_fd):
            os.close(descriptor)
        self.channel_send.close()
        self.channel_receive.close()


def _sum(total: int, claimed: int) -> int:
    """A worker may write any number into its slot; the total stays one that fits."""
    return min(total + claimed, _MOST)
