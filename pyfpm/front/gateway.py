"""The WSGI application that waitress serves: every request goes to the pool over FastCGI.

A response that fails before its first byte is a page with a 5xx status. One that fails later is
never completed: `CutOffError` makes waitress close the connection, so that a client sees a short
`Content-Length` body or a chunked one without its end, and knows.
"""

from collections.abc import Callable, Generator, Iterable
from http import HTTPStatus
from typing import Any

from pyfpm.cgi import HOP_BY_HOP
from pyfpm.config.addresses import Address
from pyfpm.errors import ProtocolError, ResponseError
from pyfpm.front.answer import Answer, read_answer
from pyfpm.front.exchange import (
    Exchange,
    ResponderError,
    ResponderTimeoutError,
    ResponderUnreachableError,
    connect,
)
from pyfpm.front.params import build_params
from pyfpm.logs import Log

journal = Log()

CONNECT_TIMEOUT_S = 10.0
TIMEOUT_S = 300.0

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

_FAILURES = (ResponderError, ResponseError, ProtocolError)


class CutOffError(ConnectionError):
    """The responder broke off in the middle of a response whose head the client already has.

    A ConnectionError, because waitress closes the connection on an OSError from an application
    without adding what would complete the response.
    """


class Gateway:
    """Answers each request with what the responder at `address` says.

    Until the responder was reached once, not reaching it means that it is still starting (503).
    """

    def __init__(self, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._was_reached = False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """One request, by PEP 3333."""
        line = f"{environ['REQUEST_METHOD']} {environ.get('REQUEST_URI', environ['PATH_INFO'])}"
        try:
            answer = self._ask(environ, line)
            # waitress sends the head with the first piece, so a failure up to here is a clean 502.
            first = next(answer.body, b"")
        except _FAILURES as error:
            return self._fail(error, line, start_response)
        headers = [
            (name, value) for name, value in answer.head.headers if name.lower() not in HOP_BY_HOP
        ]
        start_response(answer.head.status_line, headers)
        return _stream(first, answer, line, is_head=environ["REQUEST_METHOD"] == "HEAD")

    def _ask(self, environ: Environ, line: str) -> Answer:
        sock = connect(self._address, CONNECT_TIMEOUT_S)
        self._was_reached = True
        exchange = Exchange(
            sock, build_params(environ), environ["wsgi.input"], timeout_s=self._timeout_s
        )

        def take_stderr(data: bytes) -> None:
            journal.warning("responder_stderr", f"front: {line}: {data.decode(errors='replace')}")

        return read_answer(exchange, take_stderr)

    def _fail(self, error: Exception, line: str, start_response: StartResponse) -> Iterable[bytes]:
        if isinstance(error, ResponderUnreachableError) and not self._was_reached:
            retry = [("Retry-After", "1")]
            return _page(HTTPStatus.SERVICE_UNAVAILABLE, "pyfpm is starting", start_response, retry)
        journal.error("response_failed", f"front: {line}: {error}")
        if isinstance(error, ResponderTimeoutError):
            return _page(HTTPStatus.GATEWAY_TIMEOUT, str(error), start_response)
        return _page(HTTPStatus.BAD_GATEWAY, str(error), start_response)


def _stream(
    first: bytes, answer: Answer, line: str, *, is_head: bool
) -> Generator[bytes, None, None]:
    try:
        # The answer to a HEAD has no body, whatever the responder sends.
        if first and not is_head:
            yield first
        for piece in answer.body:
            if not is_head:
                yield piece
    except _FAILURES as error:
        journal.error("response_cut_off", f"front: {line}: the response was cut off: {error}")
        raise CutOffError(str(error)) from error
    finally:
        answer.body.close()


def _page(
    status: HTTPStatus,
    text: str,
    start_response: StartResponse,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    body = f"{status.value} {status.phrase}: {text}\n".encode()
    start_response(
        f"{status.value} {status.phrase}",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            *headers,
        ],
    )
    return [body]
