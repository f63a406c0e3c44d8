"""The worker's end of the control socket: orders from the master, words to it."""

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyfpm.errors import ProtocolError
from pyfpm.kernel.descriptors import receive_with_descriptors
from pyfpm.messages import (
    MAX_MESSAGE_BYTES,
    LogLine,
    MemoryFile,
    Message,
    NewAccessLog,
    decode_message,
    encode_message,
)

if TYPE_CHECKING:
    from pyfpm.runtime.access_log import AccessLog  # loaded in pools that have one


class Orders:
    """Non-blocking both ways: a master that does not read must not stop requests."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        control.setblocking(False)
        self.unsaid = 0
        self.access: AccessLog | None = None
        """Gets the new file after a rotation."""
        self.take_statm: Callable[[int], None] | None = None
        """Gets the file that says how much memory the worker has, where it cannot open it."""

    def fileno(self) -> int:
        """Readable while an order waits."""
        return self._control.fileno()

    def take(self) -> Message | None:
        """The next order; None when there is none now. EOFError when the master is gone."""
        try:
            data, descriptors, _ = receive_with_descriptors(self._control, MAX_MESSAGE_BYTES, 1)
        except BlockingIOError:
            return None
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        try:
            order = decode_message(data)
        except ProtocolError as error:
            self.log("error", f"an order that means nothing: {error}")
            order = None
        if isinstance(order, NewAccessLog) and self.access is not None:
            self._switch(self.access, descriptors)
        elif isinstance(order, MemoryFile) and self.take_statm is not None and descriptors:
            self.take_statm(descriptors[0])
        else:
            for descriptor in descriptors:
                os.close(descriptor)
        return order

    def _switch(self, access: "AccessLog", descriptors: list[int]) -> None:
        if descriptors:
            access.switch(descriptors[0])
        else:  # the kernel dropped it (MSG_CTRUNC)
            self.log("warning", "no descriptors left: the access log goes on in its old file")

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
