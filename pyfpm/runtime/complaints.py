"""What the pool's log says about a request that went wrong, through its `wsgi.errors`."""

import os
import sys
from typing import Any

from pyfpm.runtime import time_limit
from pyfpm.runtime.application import traceback_text


def complain(environ: dict[str, object], what: str) -> None:
    """Say what went wrong, with the request line."""
    stream: Any = environ.get("wsgi.errors", sys.stderr)
    path = environ.get("REQUEST_URI") or environ.get("PATH_INFO")
    request = f"{environ.get('REQUEST_METHOD')} {path}"
    try:
        stream.write(f"{request!a} {what}\n")
        stream.flush()
    except Exception:  # noqa: BLE001 - a broken stream must not cost the worker
        os.write(2, b"pyfpm: a complaint about a request could not be logged\n")


def report(environ: dict[str, object], what: str, error: BaseException) -> None:
    """Say what went wrong, with the traceback."""
    _cut_handler(error)
    complain(environ, f"{what}\n{traceback_text(error).rstrip()}")


def _cut_handler(error: BaseException) -> None:
    """Leave out where RequestTimeout was raised; where it landed is the news."""
    frame = error.__traceback__
    while frame is not None:
        after = frame.tb_next
        if after is not None and after.tb_frame.f_globals is vars(time_limit):
            frame.tb_next = None
            return
        frame = after
