"""From what the codec saw to a request that can be run: environ, body, and when to begin."""

from pyfpm.cgi import EnvironBuilder
from pyfpm.errors import BadRequest
from pyfpm.fastcgi import (
    Abort,
    Begin,
    Event,
    Limits,
    Params,
    Role,
    Send,
    Stdin,
    StdinEnd,
    encode_end,
)
from pyfpm.messages import RequestLimits
from pyfpm.runtime.connection import Connection
from pyfpm.runtime.peer import AT_ONCE, PeerGoneError, write_all
from pyfpm.runtime.refusals import Refusals

_AUTHORIZER = Role.AUTHORIZER


class Assembly:
    """Puts requests together for one worker."""

    def __init__(self, builder: EnvironBuilder, limits: RequestLimits, refusals: Refusals) -> None:
        self._builder = builder
        self._limits = limits
        self._refusals = refusals
        self._most_body = limits.max_body_bytes
        self._codec_limits = Limits(max_params_bytes=limits.max_params_bytes)
        self._values = {
            "FCGI_MAX_CONNS": str(limits.max_connections),
            "FCGI_MAX_REQS": str(limits.max_connections),
            "FCGI_MPXS_CONNS": "0",
        }

    def new_connection(self, fd: int) -> Connection:
        """A connection that has just been accepted or adopted."""
        return Connection(fd, self._codec_limits, self._values)

    def take_whole(self, connection: Connection, whole: tuple[bool, bytes, bytes]) -> None:
        """Apply a request that came in one piece, as `ServerConnection.receive_whole` returns it.

        Raises BadRequest for a request that must not be run, ProtocolError for broken parameters.
        """
        connection.keep, stream, body = whole
        connection.request_id = 1
        connection.body_done = True
        if body:
            connection.body.append(body)
            connection.body_bytes = len(body)
        connection.environ = environ = self._builder.build_from(stream)
        if "CONTENT_LENGTH" in environ:
            connection.read_declared_length(self._most_body)
        if body:
            self._check_whole_body(connection)

    def take(self, connection: Connection, data: bytes, held_bytes: int) -> bool:
        """Apply what the codec sees in `data`; True when a request is to be run now.

        That is when its body is complete, or longer than request_buffer_size, or when
        `held_bytes`, what all half-sent requests hold together, leaves no room to wait for it.
        Raises BadRequest for a request that must not be run, PeerGoneError when the connection
        has to be closed, ProtocolError as the codec does and where the peer leaves no room for
        what is to be answered.
        """
        answers: list[bytes] = []
        try:
            for event in connection.codec.receive(data):
                if isinstance(event, Begin):
                    connection.request_id = event.request_id
                    connection.keep = event.keep_conn
                elif isinstance(event, Params):
                    connection.environ = self._builder.build(event.pairs)
                    if connection.codec.role is _AUTHORIZER:
                        _mark_authorizer(connection.environ)
                    connection.read_declared_length(self._most_body)
                elif isinstance(event, StdinEnd):
                    connection.body_done = True
                elif isinstance(event, Stdin):
                    connection.add_to_body(event.data)
                else:
                    self._take_rare(connection, event, answers)
        finally:
            if answers:
                # Together: one read may hold thousands of records to be answered, and no socket
                # takes that many small writes, however soon its peer reads.
                write_all(connection.fd, b"".join(answers), AT_ONCE)
        if connection.environ is None:
            return False
        if not (connection.body_done or self._is_long(connection, held_bytes)):
            return False
        self._check_whole_body(connection)
        return True

    def _is_long(self, connection: Connection, held_bytes: int) -> bool:
        size = connection.body_bytes
        if size > self._limits.buffer_size_bytes:
            return True
        return held_bytes + size > self._limits.buffer_total_bytes

    def _take_rare(self, connection: Connection, event: Event, answers: list[bytes]) -> None:
        if isinstance(event, Send):
            if event.fault:
                self._refusals.note_role(event.fault, connection.fd)
            answers.append(event.data)
            if event.close:
                raise PeerGoneError("its request was refused")
        elif isinstance(event, Abort):
            answers.append(encode_end(connection.request_id))
            keep = connection.keep
            connection.codec.request_ended()
            connection.clear_request()
            if not keep:
                raise PeerGoneError("it aborted the request")

    def _check_whole_body(self, connection: Connection) -> None:
        """BadRequest if what has arrived of the body is longer than request_max_body."""
        most = self._most_body
        if most and connection.body_bytes > most:
            raise BadRequest(413, f"the body exceeds request_max_body ({most} bytes)")


def _mark_authorizer(environ: dict[str, object]) -> None:
    """Let the application tell that it is asked whether a request may be served, not to serve it.

    FCGI_ROLE is what the library of the FastCGI developers sets. A body there is none (§6.3),
    whatever length the web server passes on of a request that it only asks about.
    """
    environ["FCGI_ROLE"] = _AUTHORIZER.name
    environ.pop("CONTENT_LENGTH", None)
