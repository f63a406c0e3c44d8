"""From FastCGI parameters to a WSGI environ, whatever web server sent them (PEP 3333, RFC 3875).

Who writes to the socket decides what is in the parameters, and most of it comes from clients. So
names are filtered, contradictions refused, and nothing here ever reaches os.environ.
"""

import re
from collections.abc import Iterable, Mapping

from pyfpm.cgi.layout import LONGEST_NAME, Layout, count_leading
from pyfpm.cgi.lengths import UNKNOWN_LENGTHS
from pyfpm.cgi.paths import (
    PathInfo,
    normalise_mount,
    path_of_uri,
    split_path,
    strip_proxy_prefix,
)
from pyfpm.errors import BadRequest
from pyfpm.fastcgi import Limits, decode_pairs

# Upper-case letters, digits and underscores. The rest is not what a web server makes of a header:
# Apache's notes (`proxy-nokeepalive`), shell functions that cgi-fcgi passes on, and `wsgi.…`.
_USUAL_NAME = re.compile("[A-Z][A-Z0-9_]*")

_DROPPED = frozenset(
    {
        # The Proxy header of any client would become the proxy of the application's HTTP library
        # (CVE-2016-5385, "httpoxy"); nginx and older Caddy pass it on.
        "HTTP_PROXY",
        # CONTENT_LENGTH and CONTENT_TYPE are the true ones; wsgiref.validate refuses these two.
        "HTTP_CONTENT_LENGTH",
        "HTTP_CONTENT_TYPE",
    }
)

# Caddy sends these always; an application takes an empty user for one who is logged in.
_ABSENT_IF_EMPTY = ("REMOTE_USER", "AUTH_TYPE", "REMOTE_IDENT")

_TRUE = frozenset({"on", "1", "true", "yes", "https"})
_FALSE = frozenset({"off", "0", "false", "no"})

_FILE_PATHS = ("SCRIPT_FILENAME", "PATH_TRANSLATED", "DOCUMENT_ROOT")

# Names that were looked at are remembered, because the same thirty come with every request. A
# client can invent header names, hence the bounds.
_NO_LIMITS = Limits()

# The layout is looked at again with every so manieth request that has another.
_LEARNING_EVERY = 64
_LONGEST_LEARNED = 8192

# What `_complete` looks at: where the value of one of these is another with every request, the rest
# of the environ cannot be made ready in advance.
_DECISIVE = frozenset(
    {
        "CONTENT_LENGTH",
        "HTTPS",
        "PATH_INFO",
        "REQUEST_METHOD",
        "REQUEST_SCHEME",
        "REQUEST_URI",
        "SCRIPT_NAME",
        "SERVER_NAME",
        "SERVER_PORT",
        *_ABSENT_IF_EMPTY,
        *_FILE_PATHS,
    }
)

_MOST_NAMES = 1024
_LONGEST_NAME = 128


class EnvironBuilder:
    """Builds environs for one pool.

    `mount` is the URL prefix that becomes SCRIPT_NAME. `template` holds what all requests share
    (`wsgi.version`, `wsgi.errors`, …); a key in it that a parameter may have is a default.
    `limits` bound the parameters.
    """

    __slots__ = (
        "_defaults",
        "_layout",
        "_limits",
        "_most_pairs",
        "_mount",
        "_names",
        "_path_info",
        "_sample",
        "_template",
        "_until_learning",
        "_varying",
    )

    def __init__(
        self,
        *,
        mount: str = "",
        path_info: PathInfo = PathInfo.AUTO,
        template: Mapping[str, object] = {},
        limits: Limits = _NO_LIMITS,
    ) -> None:
        self._limits = limits
        self._most_pairs = limits.max_params_count
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
            usual = _USUAL_NAME.fullmatch(key)
            (self._defaults if usual else self._template)[key] = value
        self._names: dict[str, str] = {}  # "" for a name that is dropped
        self._layout: Layout | None = None
        # What the layout was learned from: the leading parameters of a request before, and the
        # names of those that had another value in some request since.
        self._sample: list[tuple[bytes, bytes]] = []
        self._varying: set[bytes] = set()
        self._until_learning = 0

    def build(self, pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, object]:
        """The environ for the parameters of one request; values are bytes read as latin-1.

        Raises BadRequest (400) for a parameter sent twice that is no header, a missing
        REQUEST_METHOD, and paths that no application should see.
        """
        environ = self._template.copy()
        expected = len(environ)
        texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs]
        for name, value in texts:
            known = self._names.get(name)
            if known is None:
                known = self._learn(name)
            if known:
                environ[known] = value
                expected += 1
        if len(environ) != expected:
            self._join_repeated(environ, texts)
        self._complete(environ)
        return environ

    # One long loop: a call for each parameter would cost as much as what is done about it.
    def build_from(self, stream: bytes) -> dict[str, object]:  # noqa: C901, PLR0912
        """As `build`, for an encoded PARAMS stream; ProtocolError as in `decode_pairs`.

        Decoding and building in one: cutting names and values out of one text spares two objects
        and a call for each parameter. And most of a request is what it was in the one before, so a
        `Layout` makes that part of the environ at once. What is not the usual (a name beyond 127
        bytes, a repeated one, a broken stream) is decoded again, step by step.
        """
        names = self._names
        layout = self._layout
        position = 0
        leading = 0
        is_complete = False
        environ = layout.fill(stream) if layout is not None else None
        if layout is not None and environ is not None:
            position = layout.end
            leading = layout.count
            is_complete = layout.is_complete
        else:
            self._learn_layout(stream)
            environ = self._template.copy()
        expected = len(environ)
        text = ""
        end = len(stream)
        try:
            for _ in range(leading, self._most_pairs):
                if position >= end:
                    break
                if not text:
                    text = stream.decode("latin-1")
                name_length = stream[position]
                value_length = stream[position + 1]
                start = position + 2
                # A length with its top bit set has three more bytes (FastCGI §3.4).
                if name_length > 127:
                    return self.build(decode_pairs(stream, self._limits))
                if value_length > 127:
                    value_length = (
                        (value_length & 127) << 24
                        | stream[start] << 16
                        | stream[start + 1] << 8
                        | stream[start + 2]
                    )
                    start += 3
                middle = start + name_length
                position = middle + value_length
                raw_name = text[start:middle]
                if is_complete and not raw_name.startswith("HTTP_"):
                    return self.build(decode_pairs(stream, self._limits))
                known = names.get(raw_name)
                if known is None:
                    known = self._learn(raw_name)
                if known:
                    environ[known] = text[middle:position]
                    expected += 1
        except IndexError:
            position = -1
        if position != end or len(environ) != expected:
            return self.build(decode_pairs(stream, self._limits))
        if not is_complete:
            self._complete(environ)
        return environ

    def _learn_layout(self, stream: bytes) -> None:
        """Learn, from a request for which there is no layout, what the next ones will be like.

        Now and then: learning costs more than a request that has none. Not from a giant, which
        would stay in memory.
        """
        self._until_learning -= 1
        if self._until_learning > 0 or len(stream) > _LONGEST_LEARNED:
            return
        self._until_learning = _LEARNING_EVERY if self._sample else 1
        pairs = decode_pairs(stream, self._limits)
        del pairs[count_leading(pairs) :]
        before = dict(self._sample)
        if [name for name, _ in pairs] == [name for name, _ in self._sample]:
            self._varying |= {name for name, value in pairs if before[name] != value}
            self._layout = self._lay_out(pairs)
        else:
            self._varying = set()
        self._sample = pairs

    def _lay_out(self, pairs: list[tuple[bytes, bytes]]) -> Layout | None:
        """The layout of requests that begin with these parameters; None where they are odd."""
        keys = [self._learn(name.decode("latin-1")) for name, _ in pairs]
        environ = self._template.copy()
        expected = len(environ) + len(keys) - keys.count("")
        for key, (_, value) in zip(keys, pairs, strict=True):
            if key:
                environ[key] = value.decode("latin-1")
        if len(environ) != expected or max(map(len, dict(pairs)), default=0) > LONGEST_NAME:
            return None
        varying = {key for key, (name, _) in zip(keys, pairs, strict=True) if name in self._varying}
        is_complete = varying.isdisjoint(_DECISIVE)
        if not (environ.get("SERVER_NAME") and environ.get("SERVER_PORT")):
            # The Host header decides, and it may be another, or come among those of the client.
            is_complete = is_complete and "HTTP_HOST" in environ.keys() - varying
        if is_complete:
            self._complete(environ)
        return Layout(pairs, keys, self._varying, environ, is_complete=is_complete)

    def _learn(self, name: str) -> str:
        """The name as it goes into environs; empty for one that is dropped."""
        usual = _USUAL_NAME.fullmatch(name) and name not in _DROPPED
        known = name if usual else ""
        if len(name) <= _LONGEST_NAME:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[name] = known
        return known

    def _join_repeated(self, environ: dict[str, object], texts: list[tuple[str, str]]) -> None:
        """Repeated headers become one; anything else sent twice is a contradiction."""
        values: dict[str, list[str]] = {}
        for name, value in texts:
            if self._learn(name):
                values.setdefault(name, []).append(value)
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
        scheme = get("REQUEST_SCHEME", "")
        if scheme != "http" or "HTTPS" in environ:
            scheme = _decide_scheme(str(get("HTTPS", "")), str(scheme))
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
    filename = str(environ.get("SCRIPT_FILENAME", ""))
    if filename.startswith("proxy:"):
        environ["SCRIPT_FILENAME"] = strip_proxy_prefix(filename)


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
