"""An HTTP client for tests: http.client for what is well-formed, a socket for the rest."""

import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass
class HttpResponse:
    """A response; `truncated` says that the server announced more than it sent."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    truncated: bool

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all_headers(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class HttpClient:
    """One kept connection to 127.0.0.1, opened anew when the server closed it."""

    def __init__(self, port: int, timeout_s: float = 60) -> None:
        self.port = port
        self._timeout_s = timeout_s
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Send a request; an iterable body without Content-Length goes out chunked."""
        self._connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = self._connection.getresponse()
        truncated = False
        try:
            content = answer.read()
        except http.client.IncompleteRead as error:
            content, truncated = error.partial, True
        except ConnectionResetError:
            content, truncated = b"", True
        if truncated:
            self._connection.close()
        return HttpResponse(answer.status, answer.reason, answer.getheaders(), content, truncated)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
        return self.request("GET", path, headers=headers)

    def post(
        self,
        path: str,
        body: bytes | Iterable[bytes],
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        return self.request("POST", path, body, headers)

    def raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own and return all that comes back."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), self._timeout_s) as link:
            link.sendall(data)
            while part := link.recv(1 << 16):
                received += part
        return received
