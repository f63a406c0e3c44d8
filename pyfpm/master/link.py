"""The master's end of a control socket, whose other end a zygote or worker holds.

Three rules keep what comes in from doing harm. Descriptors do not come in: the kernel refuses them
to their sender, or where it is too old for that, they are given up unseen and end the conversation
(kernel.bare_socket). A message that does not decode ends it too: its sender is broken or hostile.
And there are budgets, beyond which messages wait in their socket and cost nothing. One is for all
processes of a pool (master.turns). Another is for each sender: who has used that up is not read for
a while, and who does so again and again has broken the rules.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from pyfpm.config import PoolOptions
from pyfpm.errors import ProtocolError
from pyfpm.kernel.bare_socket import BareSocket, DescriptorsAttachedError
from pyfpm.kernel.descriptors import undelivered_bytes
from pyfpm.master.budget import Budget
from pyfpm.master.turns import Share
from pyfpm.master.unread import Unread
from pyfpm.messages import MAX_MESSAGE_BYTES, Message, Saturated, decode_message, encode_message

WORKER_MESSAGES_PER_S = 200.0
"""A worker says at most some 50 in a second: that it is saturated, each 20 ms."""
ZYGOTE_MESSAGES_PER_S = 1000.0
POOL_MESSAGES_PER_S = 3000.0
"""For a pool of any size: its workers boot and leave in their turn, however many there are."""
ALL_MESSAGES_PER_S = 12_000.0
"""Of all pools together; a message costs some 15 microseconds."""
ALL_MESSAGES_AT_ONCE = ALL_MESSAGES_PER_S / 20
REST_S = 1.0
RESTS_MOST = 10
_FORGIVEN_AFTER_S = 3 * REST_S
_DRAIN_MOST = 256
_LONGEST_FAULT = 200
_MESSAGES_IN_A_TURN = 64
_COST_OF_A_TURN = 16
_BYTES_OF_A_MESSAGE = 2048
"""A longer one counts as several."""
_REPEATED = 0.1
"""What saying the same again costs; saturated workers do it, up to 50 times a second."""

_SATURATED = Saturated(0)

OnMessage = Callable[[Message | None], None]
"""Called with each message, and with None when the process closed its end or broke the rules."""


def zygote_messages_per_s(options: PoolOptions) -> float:
    """A zygote answers every order, and pm.max_spawn_rate may be large."""
    return max(ZYGOTE_MESSAGES_PER_S, 4.0 * options.pm_max_spawn_rate)


class ControlLink:
    """Sends and receives; `fault` says which rule was broken, empty for a process that hung up."""

    def __init__(
        self,
        sock: socket.socket,
        on_message: OnMessage,
        share: Share,
        messages_per_s: float = WORKER_MESSAGES_PER_S,
        unread: Unread | None = None,
    ) -> None:
        """`share` and `unread` are those of its pool; the other end is given away afterwards."""
        self.fault = ""
        self._sock = BareSocket.around(sock)
        self._share = share
        self._unread = unread
        self._in_flight = 0
        self._watched = False
        self._saturated = b""  # as it was said last, in this turn
        self._on_message = on_message
        self._open = True
        self._per_s = messages_per_s
        self._budget = Budget(messages_per_s, messages_per_s)
        self._rests = 0
        self._rested_s = 0.0
        self._rest: asyncio.TimerHandle | None = None
        self._sock.setblocking(False)
        self._listen()

    @property
    def descriptor(self) -> int | None:
        """The socket, for the next master; None where it has been hung up."""
        return self._sock.fileno() if self._open else None

    @property
    def in_flight(self) -> int:
        """How many descriptors were sent that the process has not read, at most."""
        if self._in_flight and (not self._open or not undelivered_bytes(self._sock.fileno())):
            self._in_flight = 0
        return self._in_flight

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Whether the message left; a full socket or a dead process is False."""
        try:
            self.deliver(message, descriptors)
        except OSError:
            return False
        return True

    def deliver(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message; OSError where it does not leave."""
        if not self._open:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        in_flight = self.in_flight
        if descriptors:
            socket.send_fds(self._sock, [encode_message(message)], descriptors)
            self._in_flight = in_flight + len(descriptors)
        else:
            self._sock.send(encode_message(message))

    def refuse(self, fault: str) -> None:
        """The process has broken a rule: hang up, and tell whoever listens."""
        if self._open:
            self.fault = fault[:_LONGEST_FAULT]
            self.close()
            self._on_message(None)

    def close(self) -> None:
        """Hang up: the process on the other side sees the end of its master."""
        if self._open:
            in_flight, self._open = self.in_flight, False
            if self._rest is not None:
                self._rest.cancel()
            self._share.forget(self)
            self._unwatch()
            with suppress(OSError):  # the process has hung up before
                self._sock.shutdown(socket.SHUT_RDWR)
            if in_flight and self._unread is not None:
                self._unread.keep(self._sock, in_flight)
            else:
                self._sock.close()

    def drain(self) -> None:
        """Read what is left of a process that has ended.

        Bounded: a child of it may hold the other end, and send without end.
        """
        for _ in range(_DRAIN_MOST):
            if not self._open or not self._read():
                return

    # -- reading ----------------------------------------------------------------------------

    def _listen(self) -> None:
        self._rest = None
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().add_reader(self._sock.fileno(), self._on_readable)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self._sock.fileno())

    def _on_readable(self) -> None:
        if self._share.is_open:
            self._saturated = b""
            self._read_within_budget()
        else:
            self._unwatch()
            self._share.wait(self)

    def take_turn(self) -> None:
        """Read a few messages; see master.turns."""
        self._saturated = b""
        end = self._share.paid + _COST_OF_A_TURN
        for _ in range(_MESSAGES_IN_A_TURN):
            if not self._read_within_budget():
                if self._open and self._rest is None:
                    self._listen()
                return
            if self._share.paid >= end:
                break
        self._share.wait(self)

    def _read_within_budget(self) -> bool:
        """Whether there was a message, and may be more; who sends too much is given a rest."""
        if self._budget.take():
            return self._read() and self._open
        loop = asyncio.get_running_loop()
        if loop.time() - self._rested_s > _FORGIVEN_AFTER_S:
            self._rests = 0
        if self._rests == RESTS_MOST:
            self.refuse(f"it goes on sending more than {self._per_s:g} messages a second")
            return False
        self._rests += 1
        self._rested_s = loop.time()
        self._unwatch()
        self._rest = loop.call_later(REST_S, self._listen)
        return False

    def _read(self) -> bool:
        try:
            data = self._sock.recv(MAX_MESSAGE_BYTES)
            message = self._decode(data) if data else None
        except BlockingIOError:
            return False
        except (ProtocolError, DescriptorsAttachedError) as error:
            self.refuse(str(error))
            return False
        except OSError:
            message = None
        if message is None:
            self.close()
        self._on_message(message)
        return message is not None

    def _decode(self, data: bytes) -> Message:
        cost = 1 + len(data) / _BYTES_OF_A_MESSAGE
        if data == self._saturated:
            self._share.pay(_REPEATED * cost)
            return _SATURATED
        self._share.pay(cost)
        message = decode_message(data)
        self._saturated = data if isinstance(message, Saturated) else b""
        return message
