"""One WSGI application with a route for everything that can go right or wrong in a response.

The integration tests and the benchmarks use it; it needs nothing but the standard library.
Parameters come in the query string, for instance `/stream?n=10&size=1000&delay=0.1`.
"""

import grp
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from urllib.parse import parse_qsl

COUNTS = {"closed": 0, "requests": 0}
ROUTES = {}


def route(path):
    def register(function):
        ROUTES[path] = function
        return function

    return register


def app(environ, start_response):
    COUNTS["requests"] += 1
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    handler = ROUTES.get(environ["PATH_INFO"])
    if handler is None:
        return reply(start_response, b"no such route\n", status="404 Not Found")
    return handler(environ, start_response, query)


def reply(start_response, body, status="200 OK", content_type="text/plain"):
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


def reply_json(start_response, value):
    return reply(start_response, json.dumps(value).encode(), content_type="application/json")


class Closing:
    """Counts how often the server closes what it iterates over."""

    def __init__(self, pieces):
        self._pieces = iter(pieces)

    def __iter__(self):
        return self._pieces

    def close(self):
        COUNTS["closed"] += 1


@route("/")
def root(environ, start_response, query):
    return reply(start_response, b"torture\n")


# Requests: what arrives


@route("/echo")
def echo(environ, start_response, query):
    """The request body, as it came."""
    body = environ["wsgi.input"].read()
    content_type = environ.get("CONTENT_TYPE") or "application/octet-stream"
    return reply(start_response, body, content_type=content_type)


@route("/length")
def length(environ, start_response, query):
    """How many bytes the body has, and what was announced."""
    body = environ["wsgi.input"].read()
    announced = environ.get("CONTENT_LENGTH")
    return reply_json(start_response, {"read": len(body), "announced": announced})


@route("/sha256")
def sha256(environ, start_response, query):
    """The digest of a body of any size, read in pieces."""
    digest, count = hashlib.sha256(), 0
    while chunk := environ["wsgi.input"].read(1 << 16):
        digest.update(chunk)
        count += len(chunk)
    return reply_json(start_response, {"sha256": digest.hexdigest(), "bytes": count})


@route("/ignore-body")
def ignore_body(environ, start_response, query):
    """An answer that never looks at the body."""
    return reply(start_response, b"ignored\n")


@route("/environ")
def environ_as_json(environ, start_response, query):
    """Every key whose value is a str, and the wsgi flags."""
    text = {key: value for key, value in environ.items() if isinstance(value, str)}
    for key in ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"):
        text[key] = environ[key]
    return reply_json(start_response, text)


# Responses: every way to send one


@route("/stream")
def stream(environ, start_response, query):
    """n pieces of a size, with a delay before each but the first; no length announced."""
    count, size = int(query.get("n", 3)), int(query.get("size", 10))
    delay = float(query.get("delay", 0))
    # X-Accel-Buffering asks nginx to pass each piece on when it comes.
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Accel-Buffering", "no")])

    def pieces():
        for number in range(count):
            if number and delay:
                time.sleep(delay)
            yield bytes([ord("a") + number % 26]) * size

    return Closing(pieces())


@route("/write")
def write_callable(environ, start_response, query):
    """PEP 3333's other way to send: the callable that start_response returns."""
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"written ")
    write(b"twice, ")
    return [b"then returned\n"]


@route("/empty-pieces")
def empty_pieces(environ, start_response, query):
    """Empty strings in a body are legal and end nothing."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"", b"a", b"", b"b", b""]


@route("/late-start")
def late_start(environ, start_response, query):
    """start_response called from within the generator, before its first piece."""
    yield from reply(start_response, b"late\n")


@route("/status")
def status_line(environ, start_response, query):
    """Any status; without a body where HTTP allows none."""
    code = int(query.get("code", 200))
    if code in (204, 304):
        start_response(f"{code} No Body", [])
        return []
    return reply(start_response, f"{code}\n".encode(), status=f"{code} As Asked")


@route("/body-in-204")
def body_in_204(environ, start_response, query):
    """A mistake that must not reach the client: 204 has no body."""
    start_response("204 No Content", [])
    return [b"must not be seen"]


@route("/head")
def head(environ, start_response, query):
    """A body even for HEAD, which the server has to drop; the length stays."""
    return reply(start_response, b"x" * 1000)


@route("/cookies")
def cookies(environ, start_response, query):
    """Repeated response headers, and the request's cookies."""
    body = environ.get("HTTP_COOKIE", "").encode("latin-1")
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain"),
            ("Set-Cookie", "a=1; Path=/"),
            ("Set-Cookie", "b=2; Path=/"),
            ("Set-Cookie", "c=3; Path=/"),
            ("Content-Length", str(len(body))),
        ],
    )
    return [body]


@route("/redirect")
def redirect(environ, start_response, query):
    start_response("302 Found", [("Location", "/elsewhere"), ("Content-Length", "0")])
    return []


@route("/file")
def file(environ, start_response, query):
    """A file of a size through wsgi.file_wrapper."""
    content = tempfile.TemporaryFile()
    content.write(b"0123456789" * (int(query.get("size", 100_000)) // 10))
    content.seek(int(query.get("from", 0)))
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](content)


@route("/big")
def big(environ, start_response, query):
    """Many megabytes in one piece."""
    return reply(start_response, b"\xaa" * (int(query.get("mb", 1)) << 20))


@route("/big-header")
def big_header(environ, start_response, query):
    size = int(query.get("size", 2000))
    start_response("200 OK", [("X-Big", "h" * size), ("Content-Length", "0")])
    return []


@route("/closes")
def closes(environ, start_response, query):
    """How often close() was called in this worker so far."""
    return reply_json(start_response, COUNTS)


# Mistakes: what an application may do wrong


@route("/error")
def error(environ, start_response, query):
    """An exception before anything was sent."""
    raise RuntimeError("torture: raised before the response")


@route("/error-after-start")
def error_after_start(environ, start_response, query):
    """An exception after start_response, but before the first byte of body."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    raise RuntimeError("torture: raised after start_response")


@route("/error-late")
def error_late(environ, start_response, query):
    """An exception after a part of the body was sent."""
    start_response("200 OK", [("Content-Type", "text/plain")])

    def pieces():
        yield b"the first piece\n" * int(query.get("n", 1))
        raise RuntimeError("torture: raised after the first piece")

    return Closing(pieces())


@route("/error-close")
def error_close(environ, start_response, query):
    """An exception in close(), when the response is complete."""

    class Broken(Closing):
        def close(self):
            raise RuntimeError("torture: raised in close")

    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return Broken([b"ok"])


@route("/exc-info")
def exc_info(environ, start_response, query):
    """The first head is replaced by an error page, as PEP 3333 allows before the first byte."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise ValueError("torture: replaced")
    except ValueError:
        start_response("503 Replaced", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"replaced\n"]


@route("/no-start")
def no_start(environ, start_response, query):
    """start_response is never called."""
    return [b"never announced"]


@route("/start-twice")
def start_twice(environ, start_response, query):
    """start_response called again without exc_info."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b""]


@route("/bad-header")
def bad_header(environ, start_response, query):
    """A line break in a header: response splitting, which the server has to refuse."""
    start_response("200 OK", [("X-Bad", "one\r\nX-Injected: two")])
    return [b""]


@route("/text")
def text(environ, start_response, query):
    """str instead of bytes in the body."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["not bytes"]


@route("/short")
def short(environ, start_response, query):
    """Fewer bytes than announced: known at once (n=1), or only at the end."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100")])
    pieces = [b"only these"] * int(query.get("n", 1))
    return pieces if len(pieces) == 1 else Closing(pieces)


@route("/long")
def long(environ, start_response, query):
    """More bytes than announced."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"12345", b"67890"]


@route("/exit")
def leave(environ, start_response, query):
    """The process ends in the middle of a request."""
    os._exit(int(query.get("code", 3)))


@route("/sys-exit")
def sys_exit(environ, start_response, query):
    sys.exit(int(query.get("code", 3)))


@route("/kill")
def kill(environ, start_response, query):
    """The process is ended by a signal, by name or by number."""
    name = query.get("sig", "KILL")
    number = int(name) if name.isdigit() else getattr(signal, f"SIG{name}")
    signal.signal(number, signal.SIG_DFL) if number not in (9, 19) else None
    os.kill(os.getpid(), number)
    time.sleep(10)
    return reply(start_response, b"survived\n")


# Processes: where the application runs


@route("/sleep")
def sleep(environ, start_response, query):
    time.sleep(float(query.get("s", 0.1)))
    return reply(start_response, f"{os.getpid()}\n".encode())


@route("/pid")
def pid(environ, start_response, query):
    return reply(start_response, f"{os.getpid()}\n".encode())


@route("/identity")
def identity(environ, start_response, query):
    """Who and where this process is."""
    umask = os.umask(0)
    os.umask(umask)
    with open("/proc/self/status") as status:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
    return reply_json(
        start_response,
        {
            "uids": os.getresuid(),
            "gids": os.getresgid(),
            "groups": sorted(os.getgroups()),
            "group_names": sorted(known_group_names(os.getgroups())),
            "umask": umask,
            "cwd": os.getcwd(),
            "env": dict(os.environ),
            "executable": sys.executable,
            "prefix": sys.prefix,
            "path": sys.path,
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "no_new_privs": fields.get("NoNewPrivs"),
            "capabilities": fields.get("CapEff"),
            "threads": threading.active_count(),
            "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
        },
    )


def known_group_names(gids):
    for gid in gids:
        try:
            yield grp.getgrgid(gid).gr_name
        except KeyError:
            yield str(gid)


@route("/fork")
def fork(environ, start_response, query):
    """A child of the application that ends at once; the request goes on."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return reply(start_response, f"child ended with {status}\n".encode())


@route("/print")
def printed(environ, start_response, query):
    """Output of the process itself; it belongs into the pool's log."""
    print("torture: on stdout", query.get("text", ""))
    print("torture: on stderr", query.get("text", ""), file=sys.stderr)
    return reply(start_response, b"printed\n")


@route("/errors")
def errors(environ, start_response, query):
    """wsgi.errors; it belongs into the pool's log."""
    print("torture: to wsgi.errors", query.get("text", ""), file=environ["wsgi.errors"])
    environ["wsgi.errors"].flush()
    return reply(start_response, b"logged\n")


@route("/spin")
def spin(environ, start_response, query):
    """Python code that computes for a while."""
    until = time.monotonic() + float(query.get("s", 0.1))
    while time.monotonic() < until:
        pass
    return reply(start_response, b"spun\n")
