"""What is done about a hand-off channel that some worker has spoilt.

A channel is one socket pair that all workers of a pool hold, and shutdown(2) by one of them is for
all, so is a socket option: with SO_PASSPIDFD whoever receives gets a descriptor with each message
that nobody sent. Or there was something in it that is no connection. Then nothing is handed over
any more, and an end that is readable for ever would keep whoever watches it busy. Only a new
generation gets another channel.
"""

import time
from typing import TYPE_CHECKING

from pyfpm.logs import Log
from pyfpm.master.setting import Setting

if TYPE_CHECKING:
    from pyfpm.master.pool import Pool

MEND_EVERY_S = 60.0
"""A worker that does it at once again shall not have its pool reloaded without end."""


class ChannelMender:
    """Looks after the channel of one pool."""

    def __init__(self, pool: "Pool", log: Log, setting: Setting) -> None:
        self._pool = pool
        self._log = log
        self._setting = setting
        self._next_s = 0.0

    def look(self) -> None:
        """Called once a second."""
        now_s = time.monotonic()
        if self._setting.disposals.of(self._pool.name).is_behind:
            return  # the old channel could not be given up
        if now_s >= self._next_s and self._pool.generation.channel.is_broken:
            self._next_s = now_s + MEND_EVERY_S
            text = "a worker has spoilt the hand-off channel: the pool gets a new generation"
            self._log.error("channel_broken", text)
            self._setting.emergency(self._pool.name)
