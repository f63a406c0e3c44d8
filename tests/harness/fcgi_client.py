"""A web server's side of FastCGI for tests: whole requests, or single bytes."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from pyfpm.fastcgi import (
    ClientConnection,
    ClientEvent,
    EndRequest,
    Stderr,
    Stdout,
    encode_request,
)


@dataclass
class FcgiResponse:
    """What came back for one request.

    `complete` is False where the connection ended without END_REQUEST: the response broke off.
    """

    raw: bytes = b""
    stderr: bytes = b""
    complete: bool = False
    app_status: int | None = None
    protocol_status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def parse(self) -> Self:
        head, _, self.body = self.raw.partition(b"\r\n\r\n")
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name:
                self.headers.append((name, value.strip()))
        return self

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def status(self) -> int | None:
        """The number in the Status header; None without one."""
        line = self.header("Status")
        return int(line.split()[0]) if line else None


def connect(address: str, timeout_s: float = 10) -> socket.socket:
    """Connect to `unix:/path` or `host:port`."""
    if address.startswith("unix:"):
        link = socket.socket(socket.AF_UNIX)
        target: object = address.removeprefix("unix:")
    else:
        link = socket.socket(socket.AF_INET)
        host, _, port = address.rpartition(":")
        target = (host, int(port))
    link.settimeout(timeout_s)
    try:
        link.connect(target)
    except OSError:
        link.close()
        raise
    return link


def make_params(
    uri: str = "/",
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str | None] | None = None,
) -> list[tuple[bytes, bytes]]:
    """Make the parameters that deploy/nginx/pyfpm_params makes; None in `params` leaves one out."""
    path, _, query = uri.partition("?")
    made: dict[str, str | None] = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": uri,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "CONTENT_TYPE": "",
        "CONTENT_LENGTH": "" if body is None else str(len(body)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_SCHEME": "http",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
    }
    for name, value in (headers or {}).items():
        made["HTTP_" + name.upper().replace("-", "_")] = value
    made.update(params or {})
    return [
        (name.encode(), value.encode("latin-1"))
        for name, value in made.items()
        if value is not None
    ]


class FcgiClient:
    """One connection to a responder; `request` uses it once, or again and again with `keep`."""

    def __init__(self, address: str, timeout_s: float = 10) -> None:
        self.address = address
        self.socket = connect(address, timeout_s)
        self._connection = ClientConnection()
        self._events: list[ClientEvent] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(
        self,
        uri: str = "/",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | None] | None = None,
        keep: bool = False,
        request_id: int = 1,
    ) -> FcgiResponse:
        """Send one request and read its response."""
        pairs = make_params(uri, method=method, body=body, headers=headers, params=params)
        self.send(encode_request(request_id, pairs, body or b"", keep_conn=keep))
        return self.response(request_id)

    def response(self, request_id: int = 1) -> FcgiResponse:
        """Read up to END_REQUEST, or to the end of the connection."""
        response = FcgiResponse()
        for event in self.events():
            if isinstance(event, Stdout) and event.request_id == request_id:
                response.raw += event.data
            elif isinstance(event, Stderr) and event.request_id == request_id:
                response.stderr += event.data
            elif isinstance(event, EndRequest) and event.request_id == request_id:
                response.complete = True
                response.app_status = event.app_status
                response.protocol_status = event.protocol_status
                break
        return response.parse()

    def events(self) -> Iterable[ClientEvent]:
        """Yield what the responder sends until it closes the connection."""
        while True:
            while self._events:
                yield self._events.pop(0)
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return
            if not data:
                return
            self._events = self._connection.receive(data)

    def is_closed_by_peer(self, timeout_s: float = 5) -> bool:
        """Wait for the peer to close; False when it still holds the connection at the deadline."""
        self.socket.settimeout(timeout_s)
        try:
            while self.socket.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        return True


def fetch(address: str, uri: str = "/", **options: object) -> FcgiResponse:
    """Send one request on a connection of its own."""
    with FcgiClient(address) as client:
        return client.request(uri, **options)
