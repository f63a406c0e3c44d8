"""The WSGI interface (PEP 3333): one request through the application."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from pyfpm.errors import ResponseError
from pyfpm.runtime.application import Application
from pyfpm.runtime.body import BodyError
from pyfpm.runtime.complaints import complain, report
from pyfpm.runtime.file_wrapper import FileWrapper
from pyfpm.runtime.peer import PeerGoneError
from pyfpm.runtime.response import Response
from pyfpm.runtime.time_limit import RequestTimeout, time_limit
from pyfpm.units import counted

# A body up to here is joined and leaves at once.
_LONG_BYTES = 256 * 1024


def environ_template() -> dict[str, object]:
    """The keys of environ that are the same for every request of a worker."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.errors": sys.stderr,
        "wsgi.file_wrapper": FileWrapper,
        # Our input ends where the body ends, so frameworks may read it without a length.
        "wsgi.input_terminated": True,
    }


def run_application(
    application: Application, environ: dict[str, object], response: Response
) -> None:
    """Call the application and send what it returns.

    Returns with the response ended, or neither ended nor begun-and-failed: afterwards
    `response.ended` False means that the connection must be closed as it is. Exceptions of the
    application end here, as a 500 or 504 or a broken response, with the traceback in
    `wsgi.errors`. The one that is passed on is MemoryError: there is more to do about it.
    """
    result: Iterable[bytes] | None = None
    try:
        try:
            time_limit.is_open = True
            result = application(environ, response.start)
            _send(result, response)
        finally:
            # RequestTimeout may still land before this is done, and then goes to the clauses below.
            time_limit.is_open = time_limit.is_held = False
        if too_long := response.surplus_bytes():
            complain(
                environ,
                f"sent {counted(too_long, 'byte')} more than its Content-Length: they were cut",
            )
    except BodyError as error:
        # No defect of the application, so one line and no traceback.
        complain(environ, f"could not read its body: {error}")
        _fail(response, error.status)
    except PeerGoneError:
        pass  # nobody is left to answer; the access line will show what was sent
    except BaseException as error:
        if response.abandoned:
            _end_child(error)
        if isinstance(error, MemoryError):
            raise
        _answer_failure(environ, response, error)
    finally:
        if type(result) is not list and hasattr(result, "close"):
            _close(result, environ)


def _answer_failure(environ: dict[str, object], response: Response, error: BaseException) -> None:
    if isinstance(error, RequestTimeout):
        report(environ, f"was interrupted: {error}", error)
        _fail(response, 504)
    else:
        report(environ, "raised an exception", error)
        _fail(response, 500)


def _close(result: Any, environ: dict[str, object]) -> None:
    """Call the result's close(), which is code of the application like any other."""
    try:
        try:
            time_limit.reopen()
            result.close()
        finally:
            time_limit.is_open = False
    except BaseException as error:  # noqa: BLE001 - as above; the response may be out
        what = "was interrupted in close()" if isinstance(error, RequestTimeout) else "in close()"
        report(environ, f"{what}: {error}", error)


def _send(result: Iterable[bytes], response: Response) -> None:
    if isinstance(result, (list, tuple)):
        _send_whole(result, response)
        return
    if isinstance(result, FileWrapper) and result.send(response):
        result = ()
    for chunk in result:
        if response.wants_no_body():
            break
        # An empty chunk is the application saying that it is not ready: PEP 3333 lets the head
        # wait for the first that is not.
        if chunk:
            response.write(chunk)
    time_limit.is_held = True
    response.finish()


def _send_whole(chunks: Sequence[bytes], response: Response) -> None:
    """Send a body that is all here; the response gets a Content-Length however long it is."""
    size = 0
    for chunk in chunks:
        if not isinstance(chunk, bytes):
            raise ResponseError(f"the body must be bytes, not {type(chunk).__name__}")
        size += len(chunk)
    if size > _LONG_BYTES:
        response.announce(size)
        _send_long(chunks, response)
        chunks = ()
    time_limit.is_held = True  # the application is done: what is left is ours
    response.finish(chunks[0] if len(chunks) == 1 else b"".join(chunks))


def _send_long(chunks: Sequence[bytes], response: Response) -> None:
    """Send long chunks as they are, and short ones together."""
    short: list[bytes] = []
    size = 0
    for chunk in chunks:
        if size + len(chunk) > _LONG_BYTES:
            response.write(b"".join(short))
            short.clear()
            size = 0
        short.append(chunk)
        size += len(chunk)
    response.write(b"".join(short))  # a single one is not copied by this


def _end_child(error: BaseException) -> NoReturn:
    """A child that the application forked comes back to us with an exception: end it as Python."""
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        traceback.print_exception(error)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _fail(response: Response, status: int) -> None:
    if response.begun:
        return
    with contextlib.suppress(PeerGoneError):
        response.fail(status)
