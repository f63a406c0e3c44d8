"""SCRIPT_NAME and PATH_INFO: where the application is mounted, and the rest of the URL.

Web servers disagree about the two (nginx sends the whole path as SCRIPT_NAME, Caddy as PATH_INFO,
mod_fcgid splits at its alias); what they agree on is that both together are the path. All strings
are latin-1 readings of bytes (PEP 3333), decoded from the URL exactly once, by the web server or
by `path_of_uri`.
"""

from enum import Enum
from urllib.parse import unquote_to_bytes

from pyfpm.errors import BadRequest


class PathInfo(Enum):
    """Where the path comes from."""

    AUTO = "auto"  # the web server's SCRIPT_NAME and PATH_INFO
    REQUEST_URI = "request_uri"  # the raw URI, decoded once: keeps `//` and dot segments


def normalise_mount(mount: str) -> str:
    """A mount as it is compared with paths: bytes read as latin-1, no slash at its end."""
    stripped = mount.rstrip("/")
    if stripped and not stripped.startswith("/"):
        raise ValueError(f"mount {mount!r}: must begin with /")
    return stripped.encode().decode("latin-1")


def split_path(script: str, info: str, mount: str) -> tuple[str, str]:
    """The pair (SCRIPT_NAME, PATH_INFO) for what the web server sent.

    `mount` wins where the whole path begins with it on a segment border. Otherwise a PATH_INFO
    from the web server means that it knows the border; without one the whole path is PATH_INFO.
    Raises BadRequest (400) for a path with NUL or one that is not absolute (`OPTIONS *`).
    """
    if info and script.endswith("/"):
        script = script.rstrip("/")
        info = info if info.startswith("/") else "/" + info
    whole = script + info
    if "\0" in whole:
        raise BadRequest(400, "path: contains NUL")
    if whole and not whole.startswith("/"):
        raise BadRequest(400, f"path {whole[:80]!r}: not absolute")
    if mount and whole.startswith(mount):
        rest = whole[len(mount) :]
        if not rest or rest.startswith("/"):
            return mount, rest
    if info.startswith("/"):
        return script, info
    return "", whole  # no border known, or one inside a segment, which WSGI cannot express


def path_of_uri(uri: str) -> str:
    """The decoded path of a request target in origin or absolute form, without its query."""
    path = uri.partition("?")[0]
    if not path.startswith("/"):
        _, separator, rest = path.partition("://")
        if separator:
            path = "/" + rest.partition("/")[2]
    if "%" not in path:
        return path
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


def strip_proxy_prefix(filename: str) -> str:
    """SCRIPT_FILENAME without what Apache's mod_proxy_fcgi leaves in front and behind.

    `proxy:fcgi://host:port/path?query` and `proxy:unix:/socket|fcgi://host/path` give `/path`.
    """
    if not filename.startswith("proxy:"):
        return filename
    _, _, rest = filename.rpartition("|")
    _, _, rest = rest.partition("://")
    _, slash, path = rest.partition("/")
    return (slash + path).partition("?")[0]
