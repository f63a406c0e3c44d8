"""The rest of a body that is longer than request_buffer_size, received while it is read."""

from collections.abc import Callable

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import Abort, Event, Send, StdinEnd, StdinReader
from pyfpm.runtime.body import BodyError
from pyfpm.runtime.connection import Connection
from pyfpm.runtime.peer import AT_ONCE, PeerGoneError, read_into, write_all
from pyfpm.runtime.response import Response
from pyfpm.scoreboard.refusal import Refusal

READ_BYTES = 65536


class BodyStream:
    """STDIN of one connection from here on; `timeout_s` bounds the pause between two reads.

    `note` is told of bodies that break a rule; who merely went away broke none.
    `response` is that of the same request. Once it has ended, nothing more is read: what arrives
    then may be the next request already.
    """

    def __init__(
        self,
        connection: Connection,
        response: Response,
        timeout_s: float,
        note: Callable[[Refusal, str, int], None],
    ) -> None:
        self._connection = connection
        self._response = response
        response.input_open = True
        self._timeout_s = timeout_s
        self._note = note
        self._reader = StdinReader(connection.request_id, connection.codec.take_unfinished())
        self._is_over = False

    def refused(self, reason: Refusal, text: str) -> None:
        """Count a body that is refused for what its sender did."""
        self._note(reason, f"request refused while its body arrived: {text}", self._connection.fd)

    def receive(self, target: memoryview) -> int:
        """Put the next bytes into `target`, which is not empty; how many, 0 at the end of STDIN.

        Waits only where nothing is there yet. BodyError if there is no proper end.
        """
        if self._is_over or self._response.ended:
            raise BodyError(400, "request body: its request is over")
        connection = self._connection
        reader = self._reader
        while not connection.body_done:
            if size := reader.take(target):
                return size
            if record := reader.take_record():
                self._pass_on(record)
            else:
                self._fill()
        return 0

    def end(self) -> None:
        """The request is over: what came of its body and was not read goes to the codec.

        The codec ignores it, and must see it: on a kept connection the next request follows.
        """
        self._is_over = True
        connection = self._connection
        try:
            for event in connection.codec.receive(self._reader.take_rest()):
                if not isinstance(event, Abort):  # too late for that
                    self._take(event)
        except (BodyError, ProtocolError, PeerGoneError):
            connection.keep = False  # what follows on this connection cannot be trusted

    def _fill(self) -> None:
        try:
            size = read_into(self._connection.fd, self._reader.room(), self._timeout_s)
        except TimeoutError as error:
            self.refused(Refusal.TIMEOUT, str(error))
            raise BodyError(408, f"request body: {error}") from error
        except PeerGoneError as error:
            raise BodyError(400, f"request body: {error}") from error
        if not size:
            raise BodyError(400, "request body: the web server closed the connection")
        self._reader.received(size)

    def _pass_on(self, records: bytes) -> None:
        try:
            events = self._connection.codec.receive(records)
        except ProtocolError as error:
            self._connection.keep = False  # what follows on this connection cannot be trusted
            self.refused(Refusal.PROTOCOL_ERROR, str(error))
            raise BodyError(400, f"request body: {error}") from error
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case StdinEnd():
                self._connection.body_done = True
                self._response.input_open = False
                self._pass_on(self._reader.take_rest())
            case Send():
                timeout_s = AT_ONCE if self._is_over else self._timeout_s
                write_all(self._connection.fd, event.data, timeout_s)
            case Abort():
                raise BodyError(400, "request body: the web server aborted the request")
            case _:
                pass
