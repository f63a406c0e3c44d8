"""The worker's end of the control socket: orders from the master, words to it."""

import socket

from pyfpm.errors import ProtocolError
from pyfpm.messages import (
    MAX_MESSAGE_BYTES,
    LogLine,
    Message,
    decode_message,
    encode_message,
)


class Orders:
    """Non-blocking both ways: a master that does not read must not stop requests."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        control.setblocking(False)
        self.unsaid = 0

    def fileno(self) -> int:
        """Readable while an order waits."""
        return self._control.fileno()

    def take(self) -> Message | None:
        """The next order; None when there is none now. EOFError when the master is gone."""
        try:
            data = self._control.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        try:
            return decode_message(data)
        except ProtocolError as error:
            self.log("error", f"an order that means nothing: {error}")
            return None

    def tell(self, message: Message) -> None:
        """Say something; lost where the socket is full, and counted."""
        try:
            self._control.send(encode_message(message))
        except OSError:
            self.unsaid += 1

    def log(self, level: str, message: str) -> None:
        """A line for the error log about this worker."""
        self.tell(LogLine(level, message))

    def close(self) -> None:
        """Hang up, in a child that the application forked."""
        self._control.close()
