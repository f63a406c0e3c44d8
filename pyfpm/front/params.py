"""From the WSGI environ that waitress makes to the CGI parameters of a FastCGI request."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pyfpm import __version__

# What the gateway's own side adds to an environ but is no CGI variable, or must not pass:
# a client's Proxy header would reach programs as HTTP_PROXY (CVE-2016-5385), and waitress has
# answered Expect already.
_LEFT_OUT = frozenset({"HTTP_PROXY", "HTTP_EXPECT", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"})
_PASSED = frozenset(
    {
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "PATH_INFO",
        "QUERY_STRING",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "REQUEST_METHOD",
        "SCRIPT_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
    }
)


def build_params(environ: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """The parameters for the request in `environ`, with the names that nginx's defaults have."""
    params = {
        name: str(value)
        for name, value in environ.items()
        if name in _PASSED or (name.startswith("HTTP_") and name not in _LEFT_OUT)
    }
    params |= {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": f"pyfpm/{__version__}",
        "SERVER_NAME": _server_name(environ),
        "REQUEST_SCHEME": str(environ["wsgi.url_scheme"]),
        "REQUEST_URI": str(
            environ.get("REQUEST_URI") or quote(environ["PATH_INFO"], "/;=,", "latin-1")
        ),
        "REQUEST_START": f"{time.time():.3f}",
    }
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in params.items()]


def _server_name(environ: Mapping[str, Any]) -> str:
    """The host that the client asked for, without its port (RFC 3875 §4.1.14)."""
    host = str(environ.get("HTTP_HOST", ""))
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0] or "localhost"
