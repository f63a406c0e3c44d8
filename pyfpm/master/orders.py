"""How many workers a zygote is asked for at once.

Each order takes four or five descriptors along, which are in flight until it is read (see
master.unread). A zygote that stands still must not use up what all pools share, so it is asked for
a few workers, and for the next ones when the kernel says that it has read these. Its own word would
not do: it can answer what it has not read.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable

from pyfpm.master.link import ControlLink

IN_FLIGHT_MOST = 16
"""In descriptors: below that another order may leave, so four do."""
_RETRY_S = 1.0

Ask = Callable[[], None]
"""Sends the order; OSError where that fails now."""


class Orders:
    """Those of one zygote, in their turn."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[socket.socket, Ask]] = deque()
        self._retry: asyncio.TimerHandle | None = None

    def place(self, link: ControlLink, control: socket.socket, ask: Ask) -> None:
        """Ask now, or in its turn; OSError where that would be now, and fails.

        `control` is the worker's end of its control socket, closed when it is on its way.
        """
        if self._waiting or link.in_flight >= IN_FLIGHT_MOST:
            self._waiting.append((control, ask))
            return
        with control:
            ask()

    def go_on(self, link: ControlLink | None) -> None:
        """The zygote has answered: ask for the next ones, if it has read the orders before."""
        while self._waiting and link is not None and link.in_flight < IN_FLIGHT_MOST:
            control, ask = self._waiting[0]
            try:
                ask()
            except OSError:  # out of descriptors: later there may be some
                self._try_later(link)
                return
            self._waiting.popleft()
            control.close()

    def flush(self) -> None:
        """Ask for all of them now: the next master knows of none that wait."""
        while self._waiting:
            control, ask = self._waiting.popleft()
            with control, contextlib.suppress(OSError):  # its boot_timeout ends then
                ask()

    def close(self) -> None:
        """The zygote has ended."""
        if self._retry is not None:
            self._retry.cancel()
        while self._waiting:
            self._waiting.popleft()[0].close()

    def _try_later(self, link: ControlLink) -> None:
        if self._retry is not None:
            self._retry.cancel()
        loop = asyncio.get_running_loop()
        self._retry = loop.call_later(_RETRY_S, lambda: self.go_on(link))
