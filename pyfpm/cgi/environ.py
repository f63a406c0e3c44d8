"""From FastCGI parameters to a WSGI environ, whatever web server sent them (PEP 3333, RFC 3875).

Who writes to the socket decides what is in the parameters, and most of it comes from clients. So
names are filtered, contradictions refused, and nothing here ever reaches os.environ.
"""

import re
from collections.abc import Mapping, Sequence

from pyfpm.cgi.lengths import UNKNOWN_LENGTHS
from pyfpm.cgi.paths import (
    PathInfo,
    normalise_mount,
    path_of_uri,
    split_path,
    strip_proxy_prefix,
)
from pyfpm.errors import BadRequest

# Upper-case letters, digits and underscores. The rest is not what a web server makes of a header:
# Apache's notes (`proxy-nokeepalive`), shell functions that cgi-fcgi passes on, and `wsgi.…`.
_USUAL_NAME = re.compile(rb"[A-Z][A-Z0-9_]*")

_DROPPED = frozenset(
    {
        # The Proxy header of any client would become the proxy of the application's HTTP library
        # (CVE-2016-5385, "httpoxy"); nginx and older Caddy pass it on.
        b"HTTP_PROXY",
        # CONTENT_LENGTH and CONTENT_TYPE are the true ones; wsgiref.validate refuses these two.
        b"HTTP_CONTENT_LENGTH",
        b"HTTP_CONTENT_TYPE",
    }
)

# Caddy sends these always; an application takes an empty user for one who is logged in.
_ABSENT_IF_EMPTY = ("REMOTE_USER", "AUTH_TYPE", "REMOTE_IDENT")

_TRUE = frozenset({"on", "1", "true", "yes", "https"})
_FALSE = frozenset({"off", "0", "false", "no"})

_FILE_PATHS = ("SCRIPT_FILENAME", "PATH_TRANSLATED", "DOCUMENT_ROOT")

# Decoded names are remembered, because the same thirty come with every request. A client can
# invent header names, hence the bounds.
_MOST_NAMES = 1024
_LONGEST_NAME = 128


class EnvironBuilder:
    """Builds environs for one pool.

    `mount` is the URL prefix that becomes SCRIPT_NAME. `template` holds what all requests share
    (`wsgi.version`, `wsgi.errors`, …); a key in it that a parameter may have is a default.
    """

    __slots__ = ("_defaults", "_mount", "_names", "_path_info", "_template")

    def __init__(
        self,
        *,
        mount: str = "",
        path_info: PathInfo = PathInfo.AUTO,
        template: Mapping[str, object] = {},
    ) -> None:
        self._mount = normalise_mount(mount)
        self._path_info = path_info
        # Only names that no parameter can have stay in the template: then a parameter that meets
        # a key of the environ is one that was sent twice.
        self._template: dict[str, object] = {}
        self._defaults: dict[str, object] = {
            "QUERY_STRING": "",
            "SERVER_PROTOCOL": "HTTP/1.0",
            "SERVER_NAME": "",
            "SERVER_PORT": "",
        }
        for key, value in template.items():
            usual = _USUAL_NAME.fullmatch(key.encode())
            (self._defaults if usual else self._template)[key] = value
        self._names: dict[bytes, str] = {}  # "" for a name that is dropped

    def build(self, pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, object]:
        """The environ for the parameters of one request; values are bytes read as latin-1.

        Raises BadRequest (400) for a parameter sent twice that is no header, a missing
        REQUEST_METHOD, and paths that no application should see.
        """
        environ = self._template.copy()
        names = self._names
        expected = len(environ) + len(pairs)
        for raw_name, raw_value in pairs:
            try:
                name = names[raw_name]
            except KeyError:
                name = self._learn(raw_name)
            if name:
                environ[name] = raw_value.decode("latin-1")
            else:
                expected -= 1
        if len(environ) != expected:
            self._join_repeated(environ, pairs)
        self._complete(environ)
        return environ

    def _learn(self, raw_name: bytes) -> str:
        """The name as a string; empty for one that is dropped."""
        usual = _USUAL_NAME.fullmatch(raw_name) and raw_name not in _DROPPED
        name = raw_name.decode("ascii") if usual else ""
        if len(raw_name) <= _LONGEST_NAME:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[raw_name] = name
        return name

    def _join_repeated(
        self, environ: dict[str, object], pairs: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Repeated headers become one; anything else sent twice is a contradiction."""
        values: dict[str, list[str]] = {}
        for raw_name, raw_value in pairs:
            name = self._names.get(raw_name) or self._learn(raw_name)
            if name:
                values.setdefault(name, []).append(raw_value.decode("latin-1"))
        for name, several in values.items():
            if len(several) == 1:
                continue
            if not name.startswith("HTTP_"):
                raise BadRequest(400, f"parameter {name}: sent {len(several)} times")
            environ[name] = ("; " if name == "HTTP_COOKIE" else ", ").join(several)

    def _complete(self, environ: dict[str, object]) -> None:
        """Whatever PEP 3333 requires and the web server left out or put differently."""
        get = environ.get
        for key, value in self._defaults.items():
            if key not in environ:
                environ[key] = value
        if not get("REQUEST_METHOD"):
            raise BadRequest(400, "parameter REQUEST_METHOD: missing")
        if get("CONTENT_LENGTH") in UNKNOWN_LENGTHS:
            del environ["CONTENT_LENGTH"]
        for key in _ABSENT_IF_EMPTY:
            if get(key) == "":
                del environ[key]
        _set_paths(environ, self._path_info, self._mount)
        scheme = _decide_scheme(str(get("HTTPS", "")), str(get("REQUEST_SCHEME", "")))
        environ["wsgi.url_scheme"] = scheme
        if not (environ["SERVER_NAME"] and environ["SERVER_PORT"]):
            _set_server(environ, scheme)


def _set_paths(environ: dict[str, object], source: PathInfo, mount: str) -> None:
    script = str(environ.get("SCRIPT_NAME", ""))
    info = str(environ.get("PATH_INFO", ""))
    if source is PathInfo.REQUEST_URI and (uri := environ.get("REQUEST_URI")):
        script, info = "", path_of_uri(str(uri))
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = split_path(script, info, mount)
    for key in _FILE_PATHS:
        path = environ.get(key)
        if path is not None and "\0" in str(path):
            raise BadRequest(400, f"parameter {key}: contains NUL")
    filename = environ.get("SCRIPT_FILENAME")
    if filename:
        environ["SCRIPT_FILENAME"] = strip_proxy_prefix(str(filename))


def _decide_scheme(https: str, scheme: str) -> str:
    https = https.lower()
    if https in _TRUE:
        return "https"
    if https in _FALSE:
        return "http"
    return "https" if scheme.lower() == "https" else "http"


def _set_server(environ: dict[str, object], scheme: str) -> None:
    """SERVER_NAME and SERVER_PORT from the Host header, where the web server sent none."""
    host, port = _split_host(str(environ.get("HTTP_HOST", "")))
    environ["SERVER_NAME"] = environ["SERVER_NAME"] or host or "localhost"
    default = "443" if scheme == "https" else "80"
    environ["SERVER_PORT"] = environ["SERVER_PORT"] or port or default


def _split_host(host: str) -> tuple[str, str]:
    """Name and port of `name`, `name:port`, `[v6]` or `[v6]:port`; an odd port is left out."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        return host, ""
    return name, port if port.isascii() and port.isdigit() else ""
