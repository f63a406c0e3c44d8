"""Which parameters each web server sends for one and the same request, and what must become of it.

The request is `POST /app/hello%20world?a=1&b=%20` to port 8080, with the headers Host, User-Agent,
Proxy (an httpoxy attempt), X_Under, X-Twice two times, Authorization, Content-Type and a body.
`length` is what the web server says of the body: digits, or its way of saying "chunked".
"""

from dataclasses import dataclass, field

RAW = "/app/hello%20world?a=1&b=%20"
DECODED = "/app/hello world"
COMMON = {
    "REQUEST_METHOD": "POST",
    "QUERY_STRING": "a=1&b=%20",
    "REQUEST_URI": RAW,
    "SERVER_PROTOCOL": "HTTP/1.1",
    "GATEWAY_INTERFACE": "CGI/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "40000",
    "SERVER_PORT": "8080",
    "CONTENT_TYPE": "text/plain",
    "HTTP_USER_AGENT": "curl/7.88.1",
}


@dataclass(frozen=True)
class Sender:
    """A web server: its parameters, and the environ keys that differ from the others'.

    `chunked` is its CONTENT_LENGTH for a body of unknown length, None where it sends none, and
    "real" where it buffers the body and sends the true one.
    """

    name: str
    params: list[tuple[str, str]]
    chunked: str | None
    expected: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    def pairs(self, length):
        """The parameters as bytes, with this CONTENT_LENGTH (None: without)."""
        pairs = [*self.params] if length is None else [*self.params, ("CONTENT_LENGTH", length)]
        if length is not None and self.name in ("nginx", "lighttpd", "caddy"):
            pairs.append(("HTTP_CONTENT_LENGTH", length))
        return [(name.encode(), value.encode("latin-1")) for name, value in pairs]


SENDERS = [
    Sender(
        "nginx",
        [
            *COMMON.items(),
            ("SCRIPT_NAME", DECODED),
            ("DOCUMENT_URI", DECODED),
            ("DOCUMENT_ROOT", "/usr/share/nginx/html"),
            ("REQUEST_SCHEME", "http"),
            ("SERVER_SOFTWARE", "nginx/1.22.1"),
            ("SERVER_ADDR", "127.0.0.1"),
            ("SERVER_NAME", ""),
            ("REDIRECT_STATUS", "200"),
            ("HTTP_HOST", "shop.test"),
            ("HTTP_PROXY", "evil:1"),
            ("HTTP_X_TWICE", "one"),
            ("HTTP_X_TWICE", "two"),
            ("HTTP_AUTHORIZATION", "Basic Zm9vOmJhcg=="),
            ("HTTP_CONTENT_TYPE", "text/plain"),
        ],
        chunked="",
        expected={
            "SERVER_NAME": "shop.test",
            "HTTP_HOST": "shop.test",
            "HTTP_AUTHORIZATION": "Basic Zm9vOmJhcg==",
        },
        absent=("HTTP_X_UNDER",),
    ),
    Sender(
        "apache_proxy_fcgi",
        [
            *COMMON.items(),
            ("HTTP_HOST", "shop.test:8080"),
            ("HTTP_X_TWICE", "one, two"),
            ("proxy-nokeepalive", "1"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("SERVER_SIGNATURE", ""),
            ("SERVER_SOFTWARE", "Apache/2.4.71 (Debian)"),
            ("SERVER_NAME", "shop.test"),
            ("SERVER_ADDR", "127.0.0.1"),
            ("DOCUMENT_ROOT", "/var/www"),
            ("REQUEST_SCHEME", "http"),
            ("CONTEXT_PREFIX", ""),
            ("SCRIPT_FILENAME", "proxy:fcgi://localhost//app/hello world"),
            ("SCRIPT_NAME", DECODED),
        ],
        chunked=None,
        expected={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "SCRIPT_FILENAME": "//app/hello world",
            "HTTP_HOST": "shop.test:8080",
        },
        absent=("proxy-nokeepalive", "HTTP_X_UNDER", "HTTP_AUTHORIZATION"),
    ),
    Sender(
        "apache_fcgid",
        [
            *COMMON.items(),
            ("HTTP_HOST", "shop.test:8080"),
            ("HTTP_X_TWICE", "one, two"),
            ("PATH", "/usr/bin"),
            ("SERVER_NAME", "shop.test"),
            ("SCRIPT_FILENAME", "/srv/wrapper"),
            ("SCRIPT_NAME", "/app"),
            ("PATH_INFO", "/hello world"),
            ("PATH_TRANSLATED", "/var/www/hello world"),
        ],
        chunked="real",
        expected={
            "SCRIPT_NAME": "/app",
            "PATH_INFO": "/hello world",
            "SCRIPT_FILENAME": "/srv/wrapper",
        },
        absent=("HTTP_AUTHORIZATION",),
    ),
    Sender(
        "lighttpd",
        [
            *COMMON.items(),
            ("SERVER_SOFTWARE", "lighttpd/1.4.69"),
            ("SERVER_NAME", "shop.test"),
            ("REQUEST_SCHEME", "http"),
            ("REDIRECT_STATUS", "200"),
            ("DOCUMENT_ROOT", "/var/www"),
            ("SCRIPT_FILENAME", "/var/www/app"),
            ("SCRIPT_NAME", "/app"),
            ("PATH_INFO", "/hello world"),
            ("PATH_TRANSLATED", "/var/www/hello world"),
            ("HTTP_HOST", "shop.test:8080"),
            ("HTTP_X_UNDER", "lighttpd"),
            ("HTTP_X_TWICE", "one, two"),
            ("HTTP_AUTHORIZATION", "Basic Zm9vOmJhcg=="),
        ],
        chunked="real",
        expected={
            "SCRIPT_NAME": "/app",
            "PATH_INFO": "/hello world",
            "HTTP_X_UNDER": "lighttpd",
        },
    ),
    Sender(
        "haproxy",
        [
            *COMMON.items(),
            ("SERVER_NAME", "shop.test"),
            ("DOCUMENT_ROOT", "/var/www"),
            ("SCRIPT_FILENAME", "/var/www/app/hello world"),
            ("SCRIPT_NAME", DECODED),
            ("AUTH_TYPE", "Basic"),
            ("REMOTE_USER", "foo"),
            ("HTTP_HOST", "shop.test:8080"),
            ("HTTP_X_TWICE", "one"),
            ("HTTP_X_TWICE", "two"),
        ],
        chunked="real",
        expected={"REMOTE_USER": "foo", "AUTH_TYPE": "Basic"},
        absent=("HTTP_AUTHORIZATION",),
    ),
    Sender(
        "caddy",
        [
            *COMMON.items(),
            ("AUTH_TYPE", ""),
            ("REMOTE_IDENT", ""),
            ("REMOTE_USER", ""),
            ("REMOTE_HOST", "127.0.0.1"),
            ("REQUEST_SCHEME", "http"),
            ("SERVER_NAME", "shop.test"),
            ("SERVER_SOFTWARE", "Caddy/2.6.2"),
            ("DOCUMENT_ROOT", "/var/www"),
            ("DOCUMENT_URI", ""),
            ("SCRIPT_FILENAME", "/var/www"),
            ("SCRIPT_NAME", ""),
            ("PATH_INFO", DECODED),
            ("PATH_TRANSLATED", "/var/www/app/hello world"),
            ("HTTP_HOST", "shop.test:8080"),
            ("HTTP_PROXY", "evil:1"),
            ("HTTP_X_UNDER", "caddy"),
            ("HTTP_X_TWICE", "one, two"),
            ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
            ("HTTP_AUTHORIZATION", "Basic Zm9vOmJhcg=="),
            ("HTTP_CONTENT_TYPE", "text/plain"),
        ],
        chunked="-1",
        expected={"HTTP_X_FORWARDED_FOR": "127.0.0.1", "HTTP_X_UNDER": "caddy"},
        absent=("AUTH_TYPE", "REMOTE_IDENT", "REMOTE_USER"),
    ),
    Sender(
        "cgi_fcgi",
        [
            *COMMON.items(),
            ("SERVER_NAME", "shop.test"),
            ("SCRIPT_NAME", DECODED),
            ("HTTP_X_TWICE", "one, two"),
            ("HOME", "/root"),
            ("_", "/usr/bin/cgi-fcgi"),
            ("http_proxy", "proxy:3128"),
            ("BASH_FUNC_which%%", "() {  ls\n}"),
            ("LANG", "C.UTF-8"),
        ],
        chunked="real",
        expected={"HOME": "/root", "LANG": "C.UTF-8"},
        absent=("_", "http_proxy", "BASH_FUNC_which%%"),
    ),
]

# What reaches the application the same from all of them, but for what `expected` says otherwise.
EXPECTED = {
    **COMMON,
    "SCRIPT_NAME": "",
    "PATH_INFO": DECODED,
    "SERVER_NAME": "shop.test",
    "HTTP_X_TWICE": "one, two",
    "wsgi.url_scheme": "http",
}
ABSENT = ("HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE")


@dataclass(frozen=True)
class PathCase:
    """SCRIPT_NAME and PATH_INFO as sent (None: not sent) for one raw URI, and as they must be."""

    name: str
    script: str | None
    info: str | None
    expected: tuple[str, str]
    mounted: tuple[str, str]


# Raw request target: /app/a%2Fb%20c/%C3%A9//x/../y
PATH_URI = "/app/a%2Fb%20c/%C3%A9//x/../y"
_NORMAL = "/a/b c/\xc3\xa9/y"
_PLAIN = "/a/b c/\xc3\xa9//x/../y"
_NODECODE = "/a%2Fb c/\xc3\xa9/y"

PATH_CASES = [
    PathCase("nginx default", f"/app{_NORMAL}", None, ("", f"/app{_NORMAL}"), ("/app", _NORMAL)),
    PathCase("nginx split", "/app", _NORMAL, ("/app", _NORMAL), ("/app", _NORMAL)),
    PathCase(
        "apache ProxyPass", f"/app{_NODECODE}", None, ("", f"/app{_NODECODE}"), ("/app", _NODECODE)
    ),
    PathCase("apache SetHandler", "/app", _NORMAL, ("/app", _NORMAL), ("/app", _NORMAL)),
    PathCase("mod_fcgid Alias", "/app", _NORMAL, ("/app", _NORMAL), ("/app", _NORMAL)),
    PathCase("lighttpd /app", "/app", _NORMAL, ("/app", _NORMAL), ("/app", _NORMAL)),
    PathCase(
        "lighttpd fix-root-scriptname",
        "",
        f"/app{_NORMAL}",
        ("", f"/app{_NORMAL}"),
        ("/app", _NORMAL),
    ),
    PathCase("lighttpd root", f"/app{_NORMAL}", "", ("", f"/app{_NORMAL}"), ("/app", _NORMAL)),
    PathCase("haproxy", f"/app{_PLAIN}", None, ("", f"/app{_PLAIN}"), ("/app", _PLAIN)),
    PathCase("caddy", "", f"/app{_PLAIN}", ("", f"/app{_PLAIN}"), ("/app", _PLAIN)),
]
PATH_DECODED_ONCE = _PLAIN
