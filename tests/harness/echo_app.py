"""What the load asks for: an application whose answer says which request it answers, and how.

The file runs in a pool (a copy of it; no import of anything here) and in the load generator,
which thus knows every byte that must come back. The request's number is in each piece of both
bodies, so that a response meant for somebody else, a piece of one or a short one is noticed.
"""

import os
import time
import zlib
from urllib.parse import parse_qs


def fill(number, size):
    """Return `size` bytes that no request with another number has."""
    piece = b"%d;" % number
    return (piece * (size // len(piece) + 1))[:size]


def answer(method, number, size, body):
    """Return the body of the response: what was asked, what arrived, then `size` bytes more."""
    asked = f"{method} {number} {len(body)} {zlib.crc32(body):08x}\n"
    return asked.encode() + fill(number, size)


def app(environ, start_response):
    """Answer; `ms` in the query is how long the application takes for it."""
    query = parse_qs(environ["QUERY_STRING"])
    number, size, pause_ms = (int(query.get(name, "0")[0]) for name in ("n", "size", "ms"))
    body = environ["wsgi.input"].read()
    if pause_ms:
        time.sleep(pause_ms / 1000)
    content = answer(environ["REQUEST_METHOD"], number, size, body)
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(content))),
            ("X-Worker", str(os.getpid())),
        ],
    )
    # Large ones leave in parts, so that a process may die in the middle of one.
    return [content[start : start + 50_000] for start in range(0, len(content), 50_000)]
