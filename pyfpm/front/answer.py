"""The answer to one exchange, as a head that has been read and a body still to come."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from pyfpm.fastcgi import EndRequest, ProtocolStatus, Stderr, Stdout
from pyfpm.front.cgi_head import HeadReader, ReplyHead
from pyfpm.front.exchange import Exchange, ResponderError

TakeStderr = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: `body` yields its non-empty pieces and raises what Exchange.events raises."""

    head: ReplyHead
    body: Generator[bytes, None, None]


def read_answer(exchange: Exchange, take_stderr: TakeStderr) -> Answer:
    """Read up to the end of the head; what the responder writes to STDERR goes to `take_stderr`.

    Raises ResponseError for a malformed head, and what Exchange.events raises. A request that the
    responder ends with another status than REQUEST_COMPLETE is a ResponderError.
    """
    reader = HeadReader()
    events = exchange.events()
    try:
        for data in _stdout(events, take_stderr):
            head = reader.feed(data)
            if head is not None:
                return Answer(head, _body(exchange, reader.rest, events, take_stderr))
    except BaseException:
        exchange.close()
        raise
    raise ResponderError("the responder ended its answer before the end of the head")


def _body(
    exchange: Exchange,
    first: bytes,
    events: Iterator[Stdout | Stderr | EndRequest],
    take_stderr: TakeStderr,
) -> Generator[bytes, None, None]:
    try:
        if first:
            yield first
        yield from _stdout(events, take_stderr)
    finally:
        exchange.close()


def _stdout(
    events: Iterator[Stdout | Stderr | EndRequest], take_stderr: TakeStderr
) -> Iterator[bytes]:
    for event in events:
        match event:
            case Stdout():
                yield event.data
            case Stderr():
                take_stderr(event.data)
            case EndRequest() if event.protocol_status != ProtocolStatus.REQUEST_COMPLETE:
                raise ResponderError(f"the responder refused: {_name(event.protocol_status)}")


def _name(protocol_status: int) -> str:
    try:
        return ProtocolStatus(protocol_status).name
    except ValueError:
        return f"protocol status {protocol_status}"
