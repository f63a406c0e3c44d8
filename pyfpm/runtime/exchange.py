"""One request from environ to END_REQUEST: the pool's own pages, or the application."""

import contextlib
import io
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from pyfpm.errors import BadRequest, ProtocolError
from pyfpm.messages import RequestLimits
from pyfpm.runtime.application import Application
from pyfpm.runtime.body import StreamedBody
from pyfpm.runtime.body_stream import READ_BYTES, BodyStream
from pyfpm.runtime.complaints import report
from pyfpm.runtime.connection import Connection
from pyfpm.runtime.memory_reserve import MemoryReserve
from pyfpm.runtime.peer import AT_ONCE, PeerGoneError
from pyfpm.runtime.queue_limit import QueueLimit
from pyfpm.runtime.refusals import Refusals
from pyfpm.runtime.response import Response
from pyfpm.runtime.wsgi import run_application
from pyfpm.scoreboard import SlotWriter

if TYPE_CHECKING:
    from pyfpm.observe import Page  # loaded in pools with such pages only
    from pyfpm.runtime.access_log import AccessLog  # and this where there is one

_monotonic_ns = time.monotonic_ns  # found once: see the engine
_BytesIO = io.BytesIO
_CPU_EVERY_NS = 10_000_000

PageMaker: TypeAlias = "Callable[[str, str], Page]"
"""A page of the pool's own, from (query string, method)."""


class Exchange:
    """Answers requests, one after the other; holds what is the same for all of them."""

    def __init__(
        self,
        application: Application,
        limits: RequestLimits,
        slot: SlotWriter,
        pages: dict[str, PageMaker],
        *,
        queue_limit: QueueLimit | None,
        ran_out: Callable[[], None],
        refusals: Refusals,
        access: "AccessLog | None" = None,
    ) -> None:
        """`ran_out` is called when there was no memory for a request."""
        self._access = access
        self._queue_limit = queue_limit
        self._ran_out = ran_out
        self.refusals = refusals
        """Counts bad input and reports it."""
        self._reserve = MemoryReserve()
        self._application = application
        self._limits = limits
        self._write_timeout_s = limits.write_timeout_s
        self._slot = slot
        self._pages = pages
        self._cpu_ns = time.process_time_ns()
        self._next_cpu_ns = 0
        self._busy_ns = 0  # since the processor time was last looked at
        self.mean_ns = 0
        """How long requests took lately, the latest weighing an eighth."""
        self.ended_ns = 0
        """When the latest request ended."""
        self._response: Response | None = None
        self._stream: BodyStream | None = None

    def answer(self, connection: Connection, started_ns: int) -> bool:
        """Serve the request of `connection`; False if the connection must be closed as it is."""
        environ: Any = connection.environ
        method = environ["REQUEST_METHOD"]
        user = environ.get("REMOTE_USER", "")
        script = environ.get("SCRIPT_FILENAME", "")
        uri = environ.get("REQUEST_URI") or environ["PATH_INFO"]
        texts = f"{method}\0{user}\0{script}\0{uri}"
        self._slot.begin_request(started_ns, texts.encode("latin-1"), connection.declared or 0)
        response = self._response = Response(
            connection.fd, connection.request_id, method, self._write_timeout_s
        )
        is_page = False
        if self._access is not None:
            self._access.begin()
        try:
            if self._pages and self._answer_page(environ, response):
                is_page = True
                return response.ended
            if self._queue_limit is not None:
                self._queue_limit.check(environ)
            environ["wsgi.input"] = self._body_of(connection, environ, response)
            run_application(self._application, environ, response)
        except BadRequest as refusal:
            self.refusals.note_request(refusal, connection.fd)
            with contextlib.suppress(PeerGoneError):
                response.fail(refusal.status, str(refusal), refusal.headers)
        except PeerGoneError:
            pass  # nobody is left to answer
        except MemoryError as error:
            self._answer_without_memory(environ, response, error)
        finally:
            if response.abandoned:
                os._exit(0)  # the application let a child of its own come back to us
            self._response = None
            response.close()
            if self._stream is not None:
                self._stream.end()
                self._stream = None
            self._end(started_ns, response.has_failed() and not is_page)
            if self._access is not None:
                self._access.write(environ, response, started_ns, self.ended_ns)
        return response.ended

    def is_running(self) -> bool:
        """Whether a request is being answered."""
        return self._response is not None

    def abandon(self) -> None:
        """In a child that the application forked: the running response is not ours to send."""
        if self._response is not None:
            self._response.abandoned = True
        if self._access is not None:
            self._access.close()

    def refuse(self, connection: Connection, refusal: BadRequest) -> bool:
        """Answer a request that must not reach the application; False as in `answer`.

        No time limit of a request runs here, so nobody is waited for.
        """
        environ = connection.environ or {}
        method = str(environ.get("REQUEST_METHOD", "GET"))
        response = Response(connection.fd, connection.request_id, method, AT_ONCE)
        self.ended_ns = _monotonic_ns()
        try:
            response.fail(refusal.status, str(refusal), refusal.headers)
        except PeerGoneError:
            return False
        except ProtocolError as error:
            self.refusals.note_broken(error, connection.fd)
            return False
        finally:
            if self._access is not None:
                self._access.begin()
                self._access.write(environ, response, self.ended_ns, self.ended_ns)
        return True

    def _answer_without_memory(
        self, environ: dict[str, object], response: Response, error: MemoryError
    ) -> None:
        """503 first, from what was set aside; then say why, if there is enough to say it."""
        self._reserve.release()
        self._ran_out()
        with contextlib.suppress(PeerGoneError):
            if not response.begun:
                response.fail(503)
        try:
            report(environ, "ran out of memory", error)
        except MemoryError:
            os.write(2, b"pyfpm: a request ran out of memory\n")

    def _answer_page(self, environ: Any, response: Response) -> bool:
        """Answer one of the pool's own pages; False if the path is not one of them.

        Not to an authorizer's request, to which a 200 means that the path may be served.
        """
        make_page = self._pages.get(environ["SCRIPT_NAME"] + environ["PATH_INFO"])
        if make_page is None or environ.get("FCGI_ROLE") == "AUTHORIZER":
            return False
        page = make_page(environ["QUERY_STRING"], environ["REQUEST_METHOD"])
        response.start(page.status, list(page.headers))
        response.finish(page.body)
        return True

    def _body_of(
        self, connection: Connection, environ: dict[str, object], response: Response
    ) -> io.BufferedIOBase:
        declared = connection.declared
        if not connection.body_done:
            stream = self._stream = BodyStream(
                connection, response, self._limits.body_timeout_s, self.refusals.note
            )
            most = self._limits.max_body_bytes
            raw = StreamedBody(connection.body, stream.receive, declared, most, stream.refused)
            return io.BufferedReader(raw, 2 * READ_BYTES)
        if not connection.body:
            if declared:
                raise BadRequest(400, f"no body came where CONTENT_LENGTH says {declared}")
            return _BytesIO()
        body = b"".join(connection.body)
        if declared is None:
            # The whole body is here, so frameworks that need a length can have a true one.
            environ["CONTENT_LENGTH"] = str(len(body))
        elif declared > len(body):
            raise BadRequest(400, f"the body has {len(body)} bytes, CONTENT_LENGTH {declared}")
        elif declared < len(body):
            body = body[:declared]
            connection.keep = False  # what follows on this connection cannot be trusted
        return io.BytesIO(body)

    def _end(self, started_ns: int, failed: bool) -> None:
        now_ns = self.ended_ns = _monotonic_ns()
        duration_ns = now_ns - started_ns
        self._slot.end_request(duration_ns, failed)
        self._busy_ns += duration_ns
        self.mean_ns += (duration_ns - self.mean_ns) >> 3

    def account_cpu(self) -> None:
        """The worker has nothing to do: write down the processor time of its last request.

        The clock of the process is a system call, so it is read once for all requests of a turn,
        and not again within 10 ms: the last request gets its share by duration, and only one that
        was shorter than that can be left out.
        """
        if not self._busy_ns or self.ended_ns < self._next_cpu_ns:
            return
        self._next_cpu_ns = self.ended_ns + _CPU_EVERY_NS
        cpu_ns = time.process_time_ns()
        used_ns = min(cpu_ns - self._cpu_ns, self._busy_ns)
        self._slot.share_cpu(used_ns, self._busy_ns)
        self._cpu_ns = cpu_ns
        self._busy_ns = 0
