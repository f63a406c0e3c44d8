"""What a worker does about bad input besides closing or answering: it counts, and says who it was.

Every refusal counts in the slot. The log gets the first few of each reason: whoever sends bad
requests as fast as he can must fill neither the disk nor the master's day. The master knows the
counters, and says how many more there were.
"""

import socket
import struct
import time
from collections.abc import Callable

from pyfpm.errors import BadRequest, ProtocolError
from pyfpm.messages import Message, Refused
from pyfpm.scoreboard.refusal import AllowList, Refusal, refusal_of
from pyfpm.scoreboard.slot import Word

LINES_MOST = 5
WINDOW_S = 10.0
_LONGEST_TEXT = 500
_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid: struct ucred of unix(7)
_WORDS = {
    Refusal.PROTOCOL_ERROR: Word.PROTOCOL_ERRORS,
    Refusal.BAD_REQUEST: Word.BAD_REQUESTS,
    Refusal.TOO_LARGE: Word.TOO_LARGE,
    Refusal.TIMEOUT: Word.TIMEOUTS,
}


class Refusals:
    """Of one worker. `tell` sends to the master."""

    def __init__(
        self,
        words: "memoryview[int]",
        tell: Callable[[Message], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._words = words
        self._tell = tell
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}  # since when, and how many lines

    def note(self, reason: Refusal, text: str, fd: int) -> None:
        """Count; and have the log say it of the peer behind `fd`, which is still open."""
        self._words[_WORDS[reason]] += 1
        self._tell_of(reason, text, fd)

    def note_client(self, allowed: AllowList, text: str, fd: int) -> None:
        """The same for a client that is in none of the entries of this list."""
        self._words[Word.REFUSED] += 1
        self._tell_of(allowed, f"{text}: refused", fd)

    def _tell_of(self, reason: Refusal | AllowList, text: str, fd: int) -> None:
        now_s = self._clock()
        since_s, lines = self._windows.get(reason, (now_s, 0))
        if now_s - since_s >= WINDOW_S:
            since_s, lines = now_s, 0
        self._windows[reason] = since_s, lines + 1
        if lines < LINES_MOST:
            self._tell(Refused(reason.value, describe_peer(fd), text[:_LONGEST_TEXT]))

    def note_broken(self, error: ProtocolError, fd: int) -> None:
        """The same for a connection that cannot be used any more."""
        self.note(Refusal.PROTOCOL_ERROR, f"protocol error, connection closed: {error}", fd)

    def note_role(self, fault: str, fd: int) -> None:
        """The same for a request in a role that nothing here plays."""
        self.note(Refusal.BAD_REQUEST, f"request refused with UNKNOWN_ROLE: {fault}", fd)

    def note_late(self, fd: int) -> None:
        """The same for a request that was begun and did not arrive in its time."""
        self.note(Refusal.TIMEOUT, "a request did not arrive in time: connection closed", fd)

    def note_crowded(self, reason: str, fd: int) -> None:
        """The same for one that kept its place without a request while others wanted it."""
        text = f"{reason}: closed a connection that had sent no whole request"
        self.note(Refusal.TIMEOUT, text, fd)

    def note_no_room(self, fd: int) -> None:
        """The same for one that would hold more memory than request_buffer_total leaves."""
        text = "request_buffer_total reached: a half-sent request dropped"
        self.note(Refusal.TOO_LARGE, text, fd)

    def note_request(self, refusal: BadRequest, fd: int) -> None:
        """The same for a request that gets an answer; one that blames the server is no refusal."""
        reason = refusal_of(refusal.status)
        if reason is not None:
            self.note(reason, f"request refused with {refusal.status}: {refusal}", fd)


def describe_peer(fd: int) -> str:
    """Who is at the other end: `192.0.2.7:4711`, or `pid 4711 of uid 33` on a Unix socket."""
    try:
        peer = socket.socket(fileno=fd)
        try:
            if peer.family == socket.AF_UNIX:
                found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                pid, uid, _ = _CREDENTIALS.unpack(found)
                # 0 is a process that cannot be seen from here, as that of another container.
                return f"pid {pid} of uid {uid}" if pid else f"uid {uid}"
            host, port, *_ = peer.getpeername()
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        finally:
            peer.detach()  # the descriptor is not ours, and there may be none left for a copy
    except (OSError, ValueError):  # closed, or -1 already
        return "a peer that is gone"
