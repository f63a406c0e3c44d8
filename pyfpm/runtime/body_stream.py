"""The rest of a body that is longer than request_buffer_size, received while it is read."""

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import Abort, Event, Send, Stdin, StdinEnd
from pyfpm.runtime.body import BodyError
from pyfpm.runtime.connection import Connection
from pyfpm.runtime.peer import PeerGoneError, read_some, write_all

READ_BYTES = 65536


class BodyStream:
    """STDIN of one connection from here on; `timeout_s` bounds the pause between two reads."""

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    def receive(self) -> list[bytes]:
        """The next chunks; empty at the end of STDIN. BodyError if there is no proper end."""
        connection = self._connection
        while not connection.body_done:
            chunks = [chunk for event in self._next_events() for chunk in self._take(event)]
            if chunks:
                return chunks
        return []

    def _next_events(self) -> list[Event]:
        connection = self._connection
        try:
            data = read_some(connection.fd, READ_BYTES, self._timeout_s)
            if data:
                return connection.codec.receive(data)
        except TimeoutError as error:
            raise BodyError(408, f"request body: {error}") from error
        except (PeerGoneError, ProtocolError) as error:
            raise BodyError(400, f"request body: {error}") from error
        raise BodyError(400, "request body: the web server closed the connection")

    def _take(self, event: Event) -> tuple[bytes, ...]:
        match event:
            case Stdin():
                return (event.data,)
            case StdinEnd():
                self._connection.body_done = True
            case Send():
                write_all(self._connection.fd, event.data, self._timeout_s)
            case Abort():
                raise BodyError(400, "request body: the web server aborted the request")
            case _:
                pass
        return ()
