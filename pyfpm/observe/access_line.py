"""A format compiled into one function that writes a line of the access log.

The line is written on the path of every request, so nothing is looked up or interpreted there: the
format becomes the source of a function, and a field that it does not name costs nothing. Only
expressions of the table below and names made up here are in that source; the words of the format
and its arguments are constants beside it, so nothing that anybody wrote is ever executed.

Values of clients are looked at all at once: nearly every request has none with anything to escape,
and then four methods of one string are all that the escaping costs. They are read from the environ
as it is at the end, so an application that sets REMOTE_USER is heard.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Protocol

from pyfpm.observe.access_format import (
    JSON,
    Piece,
    Placeholder,
    format_moment,
    parse_access_format,
)
from pyfpm.observe.access_values import (
    Clock,
    header_pattern,
    header_value,
    path_of,
    request_length,
    uri_of,
)
from pyfpm.observe.escaping import cut, escape_bare, escape_quoted, quote_json

PHP_TIME = "%d/%b/%Y:%H:%M:%S %z"
_ROOM_FOR_OUR_OWN = 512
_LEAST_VALUE = 16


class Answer(Protocol):
    """What a line says of a response."""

    @property
    def status(self) -> int:
        """The status that was sent; 0 where none was."""
        ...

    @property
    def body_bytes(self) -> int:
        """How much of a body was sent."""
        ...

    @property
    def head(self) -> bytes:
        """The header block that was sent; empty where none was."""
        ...

    @property
    def fd(self) -> int:
        """The connection, still open."""
        ...


class Measures(Protocol):
    """What costs a system call, and is asked only for a format that wants it."""

    def cpu_percent(self, kind: str, duration_ns: int) -> float:
        """Processor time of the request by its duration; `total`, `user` or `system`."""
        ...

    def peak_bytes(self) -> int:
        """The most memory that the worker has had so far."""
        ...

    def peer(self, response: Answer) -> str:
        """The address of whoever connected to the socket; `-` for a Unix socket."""
        ...


Render = Callable[[Mapping[str, object], Answer, int, float, Measures], str]
"""One line with its line break, from environ, response, duration in ns, wall clock and measures."""


def compile_access_format(
    text: str, *, pool: str, pid: int, master_pid: int, has_peers: bool
) -> Callable[[int | None], Render]:
    """The maker of the function for a format that `check_access_format` has passed.

    `has_peers` is false where every listener is a Unix socket. The maker takes the longest line in
    bytes, and cuts values of clients to fit it; None cuts nothing.
    """
    is_json = text == JSON
    pieces = _json_pieces() if is_json else parse_access_format(text)
    known = {"n": pool, "p": str(pid), "P": str(master_pid)}
    if is_json:
        known["n"] = quote_json(pool)
    if not has_peers:
        known["R"] = "-"

    def make(longest_bytes: int | None) -> Render:
        return _Source(pieces, known, is_json=is_json, longest_bytes=longest_bytes).build()

    return make


# What a placeholder is in the function: `environ`, `get` (its method), `response`, `duration_ns`,
# `now_s` and `measures` are there. {a} is the name of its constant.
_FROM_CLIENTS = {
    "e": 'get({a}, "-")',
    "f": 'get("SCRIPT_FILENAME") or "-"',
    "m": 'get("REQUEST_METHOD") or "-"',
    "q": 'get("QUERY_STRING") or ""',
    "r": "path_of(get)",
    "u": 'get("REMOTE_USER") or ""',
    "o": "header({a}, response.head)",
}
_FROM_CLIENTS_IN_JSON = {
    "e": "get({a})",
    "m": 'get("REQUEST_METHOD")',
    "u": 'get("REMOTE_USER")',
    "U": "uri_of(get)",
}
_OURS = {
    "Q": '"?" if get("QUERY_STRING") else ""',
    "R": "measures.peer(response)",
    "b": "response.body_bytes",
    "l": 'length(get("CONTENT_LENGTH"))',
    "s": 'response.status or "-"',
    "t": "{a}(int(now_s - duration_ns / 1e9))",
    "T": "{a}(int(now_s))",
}
_OURS_IN_JSON = {**_OURS, "s": 'response.status or "null"'}
_DURATIONS = {
    "exact": "{duration_ns / 1e9:.6f}",  # not for a format to say
    "seconds": "{duration_ns / 1e9:.3f}",
    "milli": "{duration_ns / 1e6:.3f}",
    "micro": "{duration_ns // 1000}",
}
_SIZES = {
    "bytes": "{measures.peak_bytes()}",
    "kilo": "{measures.peak_bytes() // 1024}",
    "mega": "{measures.peak_bytes() // 1048576}",
}


class _Source:
    """The source of one function, and the constants that it names."""

    def __init__(
        self,
        pieces: tuple[Piece, ...],
        known: Mapping[str, str],
        *,
        is_json: bool,
        longest_bytes: int | None,
    ) -> None:
        self._is_json = is_json
        self._names: dict[str, object] = {
            "path_of": path_of,
            "uri_of": uri_of,
            "header": header_value,
            "length": request_length,
            "bare": escape_bare,
            "quoted": escape_quoted,
            "quote_json": quote_json,
            "cut": cut,
        }
        self._lines: list[str] = []
        self._line = ""
        self._bare: list[str] = []
        self._quoted: list[str] = []
        self._most = None if longest_bytes is None else _share(pieces, known, longest_bytes)
        for piece in pieces:
            if isinstance(piece, str):
                self._literal(piece)
            elif piece.letter in known:
                self._literal(known[piece.letter])
            else:
                self._placeholder(piece)

    def build(self) -> Render:
        """The function."""
        body = [
            "get = environ.get",
            *self._lines,
            *_escaping(self._bare, "bare", self._most, spaces=True),
            *_escaping(self._quoted, "quoted", self._most, spaces=False),
            # repr makes a literal of any text, and the braces of words are doubled: what is left
            # of an f-string's power are the names that were put there.
            f"return f{self._line + chr(10)!r}",
        ]
        source = "def render(environ, response, duration_ns, now_s, measures):\n"
        source += "".join(f"    {line}\n" for line in body)
        exec(compile(source, "<access.format>", "exec"), self._names)  # noqa: S102 - see above
        render: Render = self._names["render"]  # type: ignore[assignment]  # defined just now
        return render

    def _literal(self, text: str) -> None:
        self._line += text.replace("{", "{{").replace("}", "}}")

    def _placeholder(self, one: Placeholder) -> None:
        clients = _FROM_CLIENTS_IN_JSON if self._is_json else _FROM_CLIENTS
        ours = _OURS_IN_JSON if self._is_json else _OURS
        if one.letter in clients:
            self._client_value(one, clients[one.letter].format(a=self._constant(one)))
        elif one.letter in ours:
            self._our_value(ours[one.letter].format(a=self._constant(one)))
        elif one.letter == "d":
            self._line += _DURATIONS[one.argument]
        elif one.letter == "M":
            self._line += _SIZES[one.argument]
        else:
            kind = self._constant(one)
            self._line += f"{{measures.cpu_percent({kind}, duration_ns):.2f}}"

    def _constant(self, one: Placeholder) -> str:
        """The name of what its argument stands for."""
        value: object = one.argument
        if one.letter == "o":
            value = header_pattern(one.argument)
        elif one.letter in "tT":
            form = one.argument or PHP_TIME
            value = Clock(datetime.isoformat if self._is_json else partial(format_moment, form))
        return self._name("a", value)

    def _client_value(self, one: Placeholder, expression: str) -> None:
        if self._is_json:
            most = self._most
            cut_or_not = f"cut(quote_json, {expression}, {most})" if most else None
            self._our_value(cut_or_not or f"quote_json({expression})")
            return
        name = self._our_value(expression)
        (self._quoted if one.alone else self._bare).append(name)

    def _our_value(self, expression: str) -> str:
        name = f"v{len(self._lines)}"
        self._lines.append(f"{name} = {expression}")
        self._line += f"{{{name}}}"
        return name

    def _name(self, letter: str, value: object) -> str:
        name = f"{letter}{len(self._names)}"
        self._names[name] = value
        return name


def _escaping(names: list[str], form: str, most: int | None, *, spaces: bool) -> list[str]:
    """The lines that escape these values where one of them needs it."""
    if not names:
        return []
    if most is not None:
        return [f"{name} = cut({form}, {name}, {most})" for name in names]
    joined = "".join(f"{{{name}}}" for name in names)
    test = r"""text.isascii() and text.isprintable() and '"' not in text and '\\' not in text"""
    if spaces:
        test += " and ' ' not in text"
    return [
        f"text = f'{joined}'",
        f"if not ({test}):",
        *(f"    {name} = {form}({name})" for name in names),
    ]


def _share(pieces: tuple[Piece, ...], known: Mapping[str, str], longest_bytes: int) -> int:
    """How many bytes each value of a client may have in a line of that length."""
    clients = {*_FROM_CLIENTS, *_FROM_CLIENTS_IN_JSON} - known.keys()
    values = sum(isinstance(piece, Placeholder) and piece.letter in clients for piece in pieces)
    words = sum(len(piece.encode()) for piece in pieces if isinstance(piece, str))
    return max(_LEAST_VALUE, (longest_bytes - words - _ROOM_FOR_OUR_OWN) // max(1, values))


def _json_pieces() -> tuple[Piece, ...]:
    fields = {
        "event": None,
        "pool": Placeholder("n"),
        "pid": Placeholder("p"),
        "remote_addr": Placeholder("e", "REMOTE_ADDR"),
        "remote_user": Placeholder("u"),
        "method": Placeholder("m"),
        "host": Placeholder("e", "HTTP_HOST"),
        "uri": Placeholder("U"),
        "protocol": Placeholder("e", "SERVER_PROTOCOL"),
        "status": Placeholder("s"),
        "request_bytes": Placeholder("l"),
        "response_bytes": Placeholder("b"),
        "seconds": Placeholder("d", "exact"),
        "referer": Placeholder("e", "HTTP_REFERER"),
        "user_agent": Placeholder("e", "HTTP_USER_AGENT"),
    }
    pieces: list[Piece] = ['{"time":"', Placeholder("t"), '"']
    for name, value in fields.items():
        pieces.append(f',"{name}":')
        pieces.append('"request"' if value is None else value)
    return (*pieces, "}")
