"""The smallest application: what `make run` serves."""


def app(environ, start_response):
    body = f"Hello from pyfpm! You asked for {environ['PATH_INFO'] or '/'}\n".encode("latin-1")
    start_response(
        "200 OK",
        [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
    )
    return [body]
