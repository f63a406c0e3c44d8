"""What a connection tells its caller.

Plain classes with slots rather than dataclasses: they are made on the hot path and declared for
the compiler, which knows no slots dataclass. Each class names all its slots itself, because they
are also what equality and representation go by.
"""

from typing import TypeAlias

from pyfpm.fastcgi.records import Role


class _Fields:
    """Equality and representation by the slots of the class."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names: tuple[str, ...] = self.__slots__
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __repr__(self) -> str:
        names: tuple[str, ...] = self.__slots__
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({fields})"


class Begin(_Fields):
    """A request begins; `keep_conn` says that the web server keeps the connection afterwards."""

    __slots__ = ("keep_conn", "request_id", "role")

    def __init__(self, request_id: int, role: Role, keep_conn: bool) -> None:
        self.request_id = request_id
        self.role = role
        self.keep_conn = keep_conn


class Params(_Fields):
    """The complete PARAMS stream, decoded: (name, value) in the order sent, repeats included."""

    __slots__ = ("pairs", "request_id")

    def __init__(self, request_id: int, pairs: list[tuple[bytes, bytes]]) -> None:
        self.request_id = request_id
        self.pairs = pairs


class Stdin(_Fields):
    """A piece of the request body, never empty, at most 65,535 bytes."""

    __slots__ = ("data", "request_id")

    def __init__(self, request_id: int, data: bytes) -> None:
        self.request_id = request_id
        self.data = data


class StdinEnd(_Fields):
    """The request body is complete. Comes once for every request that is not aborted."""

    __slots__ = ("request_id",)

    def __init__(self, request_id: int) -> None:
        self.request_id = request_id


class Data(_Fields):
    """A piece of the file for a filter, never empty, at most 65,535 bytes."""

    __slots__ = ("data", "request_id")

    def __init__(self, request_id: int, data: bytes) -> None:
        self.request_id = request_id
        self.data = data


class DataEnd(_Fields):
    """The file for a filter is complete."""

    __slots__ = ("request_id",)

    def __init__(self, request_id: int) -> None:
        self.request_id = request_id


class Abort(_Fields):
    """The web server gave the request up: end it soon. No event of this request follows."""

    __slots__ = ("request_id",)

    def __init__(self, request_id: int) -> None:
        self.request_id = request_id


class Send(_Fields):
    """Bytes that must be written to the peer, in the order of the events.

    `close` is true where the peer expects the connection to be closed after them: a request
    refused at its BEGIN that did not ask to keep the connection. `fault` says what is wrong with a
    request that they refuse, and is empty where they refuse nothing: a second request on a busy
    connection is told so, which is how peers find out (§3.5, CANT_MPX_CONN).
    """

    __slots__ = ("close", "data", "fault")

    def __init__(self, data: bytes, close: bool = False, fault: str = "") -> None:
        self.data = data
        self.close = close
        self.fault = fault


class Stdout(_Fields):
    """A piece of the response (CGI head and body), never empty."""

    __slots__ = ("data", "request_id")

    def __init__(self, request_id: int, data: bytes) -> None:
        self.request_id = request_id
        self.data = data


class Stderr(_Fields):
    """A piece of the application's error text, never empty."""

    __slots__ = ("data", "request_id")

    def __init__(self, request_id: int, data: bytes) -> None:
        self.request_id = request_id
        self.data = data


class EndRequest(_Fields):
    """The request is over. `protocol_status` is a ProtocolStatus, or a number not known to us."""

    __slots__ = ("app_status", "protocol_status", "request_id")

    def __init__(self, request_id: int, app_status: int, protocol_status: int) -> None:
        self.request_id = request_id
        self.app_status = app_status
        self.protocol_status = protocol_status


class Values(_Fields):
    """The application's answer to GET_VALUES."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs


class Unknown(_Fields):
    """The application does not know management records of this type."""

    __slots__ = ("kind",)

    def __init__(self, kind: int) -> None:
        self.kind = kind


Event: TypeAlias = Begin | Params | Stdin | StdinEnd | Data | DataEnd | Abort | Send
ClientEvent: TypeAlias = Stdout | Stderr | EndRequest | Values | Unknown
