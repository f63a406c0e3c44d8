"""An application whose requests take too long in many ways, and a worker of it to interrupt."""

import time

from harness.bare_worker import BareWorker
from harness.fcgi_client import make_params

from pyfpm.fastcgi import encode_request
from pyfpm.messages import ReservedSignal

TIMEOUT = ReservedSignal.REQUEST_TIMEOUT

APP = """\
import os, threading, time
import pyfpm
import torture
from pyfpm import RequestTimeout, extend_timeout

SEEN = []

def app(environ, start_response):
    path = environ["PATH_INFO"]
    seconds = float(environ["QUERY_STRING"] or 60)
    if path == "/catch-exception":
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass
    if path == "/catch-everything":
        try:
            time.sleep(60)
        except BaseException as error:
            SEEN.append(type(error).__name__)
        return torture.reply(start_response, b"caught\\n")
    if path == "/seen":
        return torture.reply(start_response, repr(SEEN).encode())
    if path == "/loop":
        while True:
            pass
    if path == "/lock":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    if path == "/sleep":
        time.sleep(seconds)
    if path == "/spin":
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
    if path == "/read":
        try:
            body = environ["wsgi.input"].read()
        except BaseException as error:
            SEEN.append(type(error).__name__)
            try:
                environ["wsgi.input"].read()
            except OSError as error:
                SEEN.append(str(error))
            raise
        return torture.reply(start_response, b"%d\\n" % len(body))
    if path == "/partial":
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"a part\\n")
        time.sleep(60)
    if path == "/write-big":
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            write(b"x" * 10_000_000)
        except BaseException as error:
            SEEN.append(type(error).__name__)
        write(b"more")
        return [b"and more"]
    if path == "/list-big":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"x" * 10_000_000]
    if path == "/close":
        class Result(list):
            def close(self):
                time.sleep(60)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Result([b"whole\\n"])
    if path == "/extend":
        extend_timeout(seconds)
        extend_timeout(0.001)
        time.sleep(seconds - 0.2)
        return torture.reply(start_response, b"extended\\n")
    if path == "/extend-by-thread":
        thread = threading.Thread(target=extend_timeout, args=(seconds,))
        thread.start()
        thread.join()
        time.sleep(seconds - 0.2)
        return torture.reply(start_response, b"extended\\n")
    if path == "/extend-wrong":
        found = []
        for value in (0, -1, float("nan"), float("inf"), 10 ** 400, 1e308):
            try:
                extend_timeout(value)
                found.append("taken")
            except (ValueError, OverflowError) as error:
                found.append(type(error).__name__)
        extend_timeout(1e200)
        return torture.reply(start_response, " ".join(found).encode())
    return torture.reply(start_response, b"%d\\n" % os.getpid())
"""
FILES = {"slow.py": APP}


def worker_with(timeout_s=0.1, **limits):
    """Return a worker with this application, to be entered."""
    return BareWorker("slow:app", files=FILES, terminate_timeout_s=timeout_s, **limits)


def begin(worker, client, uri):
    """Send a request, and return its start as soon as it runs."""
    before_s = worker.slot().request_started_s
    client.send(encode_request(1, make_params(uri), keep_conn=True))
    return worker.wait_running(before_s)


def interrupt(worker, started_s, timeout_s=0.1):
    """Send the signal, as the master does, when the request is overdue."""
    time.sleep(max(0.0, started_s + timeout_s - time.monotonic()))
    worker.signal(TIMEOUT)
