"""Large bodies, in the ways that applications send and read them."""

import os
from urllib.parse import parse_qs

BLOCK = b"\xaa" * 65536


def app(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    return ROUTES[environ["PATH_INFO"]](environ, start_response, query)


def upload(environ, start_response, query):
    """Read 64 KiB at a time; answer with the number of bytes that came."""
    count = 0
    while data := environ["wsgi.input"].read(65536):
        count += len(data)
    body = str(count).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def download(environ, start_response, query):
    """Send 64 KiB pieces out of memory."""
    size = int(query["bytes"][0])
    head = [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))]
    start_response("200 OK", head)
    return (BLOCK for _ in range(size // len(BLOCK)))


def file(environ, start_response, query):
    """Send a file through wsgi.file_wrapper."""
    content = open(os.environ["BENCH_FILE"], "rb")  # the server closes it
    size = os.fstat(content.fileno()).st_size
    head = [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))]
    start_response("200 OK", head)
    return environ["wsgi.file_wrapper"](content, 65536)


ROUTES = {"/upload": upload, "/download": download, "/file": file}
