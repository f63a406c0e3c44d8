"""From parameters to a WSGI environ by the rules (RFC 3875, PEP 3333), slowly, in one go.

What `pyfpm.cgi.EnvironBuilder` is compared with. Nothing is remembered from one request to the
next, nothing is shared with it, and each rule is one step over all parameters.
"""

import string
from urllib.parse import unquote_to_bytes

FIRST, OTHERS = string.ascii_uppercase, string.ascii_uppercase + string.digits + "_"
NEVER = {"HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"}
FALLBACKS = {
    "QUERY_STRING": "",
    "SERVER_PROTOCOL": "HTTP/1.0",
    "SERVER_NAME": "",
    "SERVER_PORT": "",
}

Environ = dict[str, object]


class RefusedError(Exception):
    """A 400."""


def environ_of(
    pairs: list[tuple[bytes, bytes]], *, mount: str, by_uri: bool, template: Environ
) -> Environ:
    """The environ that an application must see; RefusedError where it must not see any."""
    sent: dict[str, list[str]] = {}
    for name, value in pairs:
        sent.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    environ = {name: join_values(name, sent[name]) for name in sent if is_usual(name)}
    for name, fallback in {**FALLBACKS, **template}.items():
        if name not in environ:
            environ[name] = fallback
    if not environ.get("REQUEST_METHOD"):
        raise RefusedError("no method")
    if environ.get("CONTENT_LENGTH") in {"", "-1"}:
        del environ["CONTENT_LENGTH"]
    for name in ("REMOTE_USER", "AUTH_TYPE", "REMOTE_IDENT"):
        if environ.get(name) == "":
            del environ[name]
    set_paths(environ, mount.rstrip("/"), by_uri=by_uri)
    environ["wsgi.url_scheme"] = scheme = scheme_of(environ)
    set_server(environ, scheme)
    return environ


def is_usual(name: str) -> bool:
    """Upper-case letters, digits and underscores, and none of those that never come through."""
    usual = name != "" and name[0] in FIRST and all(letter in OTHERS for letter in name)
    return usual and name not in NEVER


def join_values(name: str, values: list[str]) -> object:
    if len(values) > 1 and not name.startswith("HTTP_"):
        raise RefusedError(f"{name} twice")
    return ("; " if name == "HTTP_COOKIE" else ", ").join(values)


def set_paths(environ: Environ, mount: str, *, by_uri: bool) -> None:
    script, info = str(environ.get("SCRIPT_NAME", "")), str(environ.get("PATH_INFO", ""))
    uri = str(environ.get("REQUEST_URI", ""))
    if by_uri and uri:
        script, info = "", path_of_uri(uri)
    if info and script.endswith("/"):
        script = script.rstrip("/")
        info = "/" + info.removeprefix("/")
    path = script + info
    if "\0" in path or (path and path[0] != "/"):
        raise RefusedError("path")
    if mount and f"{path}/".startswith(f"{mount}/"):
        script, info = mount, path[len(mount) :]
    elif info[:1] != "/":
        script, info = "", path
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = script, info
    for name in ("SCRIPT_FILENAME", "PATH_TRANSLATED", "DOCUMENT_ROOT"):
        if "\0" in str(environ.get(name, "")):
            raise RefusedError(name)
    filename = str(environ.get("SCRIPT_FILENAME", ""))
    if filename.startswith("proxy:"):
        behind = filename.rsplit("|", maxsplit=1)[-1] if "|" in filename else filename
        _, _, address = behind.partition("://")
        host = address.split("/")[0]
        environ["SCRIPT_FILENAME"] = address[len(host) :].split("?")[0]


def path_of_uri(uri: str) -> str:
    path = uri.split("?", maxsplit=1)[0]
    if path[:1] != "/" and "://" in path:
        behind = path[path.index("://") + 3 :]
        path = "/" + (behind[behind.index("/") + 1 :] if "/" in behind else "")
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


def scheme_of(environ: Environ) -> str:
    match str(environ.get("HTTPS", "")).lower():
        case "on" | "1" | "true" | "yes" | "https":
            return "https"
        case "off" | "0" | "false" | "no":
            return "http"
    return "https" if str(environ.get("REQUEST_SCHEME", "")).lower() == "https" else "http"


def set_server(environ: Environ, scheme: str) -> None:
    host, port = str(environ.get("HTTP_HOST", "")), ""
    if ":" in host and not host.endswith("]"):
        at = host.rindex(":")
        if not host[at:].endswith("]"):
            host, port = host[:at], host[at + 1 :]
    if not (port and all(digit in string.digits for digit in port)):
        port = ""
    if not environ["SERVER_NAME"]:
        environ["SERVER_NAME"] = host or "localhost"
    if not environ["SERVER_PORT"]:
        environ["SERVER_PORT"] = port or ("443" if scheme == "https" else "80")
