"""An application inside `wsgiref.validate`: the referee of PEP 3333.

The validator checks what the server hands in and how it treats what comes back; whatever is
wrong is an AssertionError, hence a 500 and a traceback in the pool's log. The application reads
the body in several ways, since each kind of read has rules of its own.
"""

from wsgiref.validate import validator


def read_all(stream):
    return stream.read(1 << 30)


def read_lines(stream):
    lines = []
    while line := stream.readline():
        lines.append(line)
    return b"".join(lines)


def read_by_iterating(stream):
    return b"".join(stream)


READERS = {"/read": read_all, "/readline": read_lines, "/iterate": read_by_iterating}


class Streamed:
    """A body in pieces that has to be closed."""

    def __init__(self, pieces):
        self._pieces = iter(pieces)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._pieces)

    def close(self):
        pass


def plain(environ, start_response):
    path = environ["PATH_INFO"]
    reader = READERS.get(path)
    if reader:
        body = reader(environ["wsgi.input"])
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return [body]
    if path == "/write":
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"written ")
        return [b"returned"]
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Streamed([b"one ", b"two ", b"three"])
    if path == "/errors":
        environ["wsgi.errors"].write("validated: a line for the log\n")
        environ["wsgi.errors"].flush()
    if path == "/no-content":
        start_response("204 No Content", [])
        return []
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"valid"] if environ["REQUEST_METHOD"] != "HEAD" else []


app = validator(plain)
