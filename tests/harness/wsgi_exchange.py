"""One request to a WSGI application in this process, and what a web server receives of it."""

import io
import os
import socket
import threading

from pyfpm.fastcgi import ClientConnection, EndRequest, Stdout
from pyfpm.runtime.response import Response
from pyfpm.runtime.wsgi import run_application

PLAIN = [("Content-Type", "text/plain")]


class Sent:
    """What the web server received: head, body, END_REQUEST or not, and then the end."""

    def __init__(self, raw):
        events = ClientConnection().receive(raw)
        data = b"".join(event.data for event in events if isinstance(event, Stdout))
        self.records = [event.data for event in events if isinstance(event, Stdout)]
        self.ends = sum(isinstance(event, EndRequest) for event in events)
        self.complete = bool(events) and isinstance(events[-1], EndRequest)
        head, self.separator, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = lines[0].removeprefix("Status: ")
        self.headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
        assert self.ends == self.complete

    def header(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, values
        return values[0] if values else None


class Exchanged(Sent):
    def __init__(self, raw, response, errors):
        super().__init__(raw)
        assert self.complete == response.ended
        self.response = response
        self.errors = errors


def exchange(application, method="GET", timeout_s=5.0):
    """Run one request and read what arrives until the connection closes."""
    ours, theirs = socket.socketpair()
    received = []

    def read():
        while data := theirs.recv(65536):
            received.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    ours.setblocking(False)
    errors = io.StringIO()
    environ = {"REQUEST_METHOD": method, "REQUEST_URI": "/x", "wsgi.errors": errors}
    response = Response(ours.fileno(), 1, method, timeout_s)
    try:
        run_application(application, environ, response)
    finally:
        ours.close()
        reader.join(10)
        theirs.close()
    return Exchanged(b"".join(received), response, errors.getvalue())


def answering(*chunks, status="200 OK", headers=()):
    """Make an application that returns these chunks as a list."""

    def application(environ, start_response):
        start_response(status, [*PLAIN, *headers])
        return list(chunks)

    return application


def streaming(*chunks, status="200 OK", headers=(), end=None):
    """Make an application that yields these chunks, then raises `end` if there is one."""

    def application(environ, start_response):
        start_response(status, [*PLAIN, *headers])
        yield from chunks
        if end is not None:
            raise end

    return application


def noise(size):
    """So many bytes that are not the same anywhere near each other."""
    return os.urandom(1009) * (size // 1009) + b"x" * (size % 1009)
