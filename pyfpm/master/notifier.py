"""What systemd is told, and the watchdog that it may keep: sd_notify(3).

A message is one datagram of `NAME=value` lines to the socket that NOTIFY_SOCKET names. The
variables are read once and taken out of the environment: a process of a pool that spoke there
would be taken for the master, and a watchdog's time is no application's business.

The loop itself sends everything, so a master that hangs misses its watchdog. Nothing here waits: a
full queue on the other side delays a message, and the next status replaces one that was not sent.
"""

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Self

from pyfpm.logs import Log

_NOTIFY_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG_USEC = "WATCHDOG_USEC"
_WATCHDOG_PID = "WATCHDOG_PID"
_STATUS_EVERY_S = 1.0
_RETRY_S = 0.1
_KEPT_MOST = 16


class Notifier:
    """The service manager as the master speaks to it; says nothing where there is none.

    `address` is a path, or `@name` for an abstract socket; `watchdog_s` the time within which a
    sign of life is expected, 0 for none.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = address
        self._watchdog_s = watchdog_s if address else 0.0
        self._unsent: list[str] = []
        self._retry: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._status = ""
        self._status_sent = ""
        self._status_sent_s = 0.0
        self._status_timer: asyncio.TimerHandle | None = None
        self._failed = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self:
        """As the variables in `environ` say, which are removed there.

        WATCHDOG_PID must be this process: the variables may have been meant for a parent.
        """
        address = environ.pop(_NOTIFY_SOCKET, "")
        watchdog_usec = environ.pop(_WATCHDOG_USEC, "")
        pid = environ.pop(_WATCHDOG_PID, "")
        is_ours = pid in ("", str(os.getpid()))
        watchdog_s = int(watchdog_usec) / 1e6 if watchdog_usec.isdecimal() and is_ours else 0.0
        return cls(address, watchdog_s)

    def environment(self) -> dict[str, str]:
        """The variables once more, for this same process after an exec of itself."""
        if not self._address:
            return {}
        variables = {_NOTIFY_SOCKET: self._address}
        if self._watchdog_s:
            variables[_WATCHDOG_USEC] = str(round(self._watchdog_s * 1e6))
            variables[_WATCHDOG_PID] = str(os.getpid())
        return variables

    @property
    def is_heard(self) -> bool:
        """Whether there is somebody to tell."""
        return bool(self._address)

    def watch(self) -> None:
        """Begin to give signs of life, twice as often as they are expected."""
        if self._watchdog_s:
            self._post("WATCHDOG=1")
            loop = asyncio.get_running_loop()
            self._beat = loop.call_later(self._watchdog_s / 2, self.watch)

    def ready(self) -> None:
        """The service serves, or serves again after `reloading`, however the reload ended."""
        lines = ["READY=1", f"MAINPID={os.getpid()}"]
        if self._status:
            lines.append(self._status_line())
        self._post("\n".join(lines))

    def reloading(self) -> None:
        """A reload begins. systemd compares the time with that of its request."""
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._post(f"RELOADING=1\nMONOTONIC_USEC={now_usec}")

    def stopping(self) -> None:
        """The service begins to end."""
        self._status = "stopping"
        self._post(f"STOPPING=1\n{self._status_line()}")

    def status(self, text: str) -> None:
        """One line for people. Sent when it changes, and at most once a second."""
        self._status = text
        if not self._address or self._status_timer is not None:
            return
        wait_s = self._status_sent_s + _STATUS_EVERY_S - time.monotonic()
        if wait_s <= 0:
            self._send_status()
        else:
            loop = asyncio.get_running_loop()
            self._status_timer = loop.call_later(wait_s, self._send_status)

    def close(self) -> None:
        """No more signs of life, and nothing more of what was still to be sent."""
        for timer in (self._beat, self._retry, self._status_timer):
            if timer is not None:
                timer.cancel()

    def _send_status(self) -> None:
        self._status_timer = None
        if self._status != self._status_sent:
            self._post(self._status_line())

    def _status_line(self) -> str:
        self._status_sent = self._status
        self._status_sent_s = time.monotonic()
        return f"STATUS={self._status}"

    def _post(self, message: str) -> None:
        """Send in order; what cannot be sent now is sent later."""
        if not self._address:
            return
        self._unsent = [*self._unsent, message][-_KEPT_MOST:]
        if self._retry is None:
            self._send_all()

    def _send_all(self) -> None:
        self._retry = None
        while self._unsent:
            try:
                _send(self._address, self._unsent[0])
            except BlockingIOError:
                self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._send_all)
                return
            except OSError as error:
                self._complain(error)
            del self._unsent[0]

    def _complain(self, error: OSError) -> None:
        """Once: it would be the same line every second."""
        if not self._failed:
            self._failed = True
            reason = error.strerror or str(error)
            Log().warning("notify", f"tell the service manager at {self._address}: {reason}")


def _send(address: str, message: str) -> None:
    """One datagram; OSError where it does not arrive, BlockingIOError where it does not yet."""
    if not address.startswith(("/", "@")):
        raise OSError(f"NOTIFY_SOCKET is no Unix socket: {address!r}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        # A leading NUL is the kernel's form of an abstract address (unix(7)), @ everybody else's.
        place = f"\0{address[1:]}" if address.startswith("@") else address
        sender.sendto(message.encode(errors="replace"), place)
