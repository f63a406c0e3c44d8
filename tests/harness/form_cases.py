"""What both forms of pyfpm are made to do, and a process that does it in the other form.

Each case takes plain values and returns plain values. `outcome` turns what it returns or raises
into text, so that two processes can be compared.
"""

import io
import os
import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from pyfpm.cgi import BodyLength, EnvironBuilder, PathInfo, format_head
from pyfpm.cgi.paths import path_of_uri, split_path, strip_proxy_prefix
from pyfpm.errors import PyfpmError
from pyfpm.fastcgi import (
    Limits,
    ServerConnection,
    decode_pairs,
    encode_end,
    encode_response,
    encode_stderr,
    encode_stdout,
)
from pyfpm.fastcgi.records import RecordReader, Role
from pyfpm.form import form
from pyfpm.runtime.response import Response
from pyfpm.runtime.wsgi import environ_template, run_application
from pyfpm.scoreboard import SLOT_BYTES, SlotWriter

_LIMITS = Limits(max_params_bytes=4096, max_params_count=16, max_name_bytes=200)


class Text(str):
    """As frameworks have them: Django marks strings that are safe in HTML."""

    __slots__ = ()


class Octets(bytes):
    """A subclass for bodies."""

    __slots__ = ()


# -- the cases -------------------------------------------------------------------------------


def run_records(pieces: list[bytes]) -> object:
    reader = RecordReader()
    return [(reader.feed(piece), reader.buffered_bytes) for piece in pieces]


def run_pairs(stream: bytes) -> object:
    return decode_pairs(stream, _LIMITS), decode_pairs(stream)


def run_server(pieces: list[bytes], filters: bool) -> object:
    roles = list(Role) if filters else [Role.RESPONDER, Role.AUTHORIZER]
    connection = ServerConnection(_LIMITS, {"FCGI_MAX_CONNS": "7"}, roles)
    seen: list[object] = []
    for piece in pieces:
        whole = connection.receive_whole(piece)
        seen.append(whole)
        if whole is not None:
            connection.request_ended()
            continue
        try:
            seen.append(connection.receive(piece))
        finally:
            seen.append((connection.is_quiet(), connection.buffered_bytes))
    return seen


def run_environ(streams: list[bytes], mount: str, path_info: str) -> object:
    """The requests of one worker, twice over: it learns what they have in common."""
    builder = EnvironBuilder(
        mount=mount, path_info=PathInfo(path_info), template={"wsgi.x": 1}, limits=_LIMITS
    )
    seen: list[object] = []
    for stream in streams * 2:
        try:
            seen.append(list(builder.build_from(stream).items()))
        except PyfpmError as error:
            seen.append(f"{type(error).__name__}: {error}")
    return seen


def run_environ_of_pairs(pairs: list[tuple[bytes, bytes]]) -> object:
    return list(EnvironBuilder().build(pairs).items())


def run_head(status: str, headers: list[tuple[str, str]], method: str) -> object:
    head = format_head(status, headers, method)
    return head.data, head.status, head.bodyless, head.content_length


def run_replies(request_id: int, head: bytes, body: bytes, status: int) -> object:
    return (
        encode_response(request_id, head, body),
        [bytes(part) for part in encode_stdout(request_id, body)],
        encode_stderr(request_id, body),
        encode_end(request_id, status),
    )


def run_paths(script: str, info: str, mount: str) -> object:
    return split_path(script, info, mount), path_of_uri(info), strip_proxy_prefix(script)


def run_body_length(declared: int | None, bodyless: bool, pieces: list[bytes]) -> object:
    length = BodyLength(declared, bodyless=bodyless)
    admitted = [length.admit(piece) for piece in pieces]
    return admitted, length.missing_bytes(), length.surplus_bytes


def run_slot(now_ns: int, texts: bytes, length: int, duration_ns: int) -> object:
    area = bytearray(SLOT_BYTES)
    writer = SlotWriter(memoryview(area))
    writer.claim(pid=1, serial=2, generation=3, now_ns=5, epoch_s=4)
    try:
        for failed in (False, True):
            writer.begin_request(now_ns, texts, length)
            writer.end_request(duration_ns, failed)
        writer.share_cpu(duration_ns, now_ns)
        writer.enter(95, now_ns)
    except (ValueError, OverflowError):  # each form has its own words for it
        return "no word of a slot"
    return bytes(area)


def run_application_answer(
    status: str, headers: list[tuple[str, str]], body: list[Any], method: str, written: list[Any]
) -> object:
    """What a web server gets of an application that answers so; `written` goes to `write`."""

    def application(environ: Any, start_response: Any) -> Any:
        write = start_response(status, headers)
        for piece in written:
            write(piece)
        return body

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        response = Response(ours.fileno(), 1, method, 1.0)
        environ = {**environ_template(), "REQUEST_METHOD": method, "wsgi.errors": io.StringIO()}
        run_application(application, environ, response)
        ours.shutdown(socket.SHUT_WR)
        with theirs.makefile("rb") as stream:
            return stream.read(), response.ended, response.has_failed(), response.status


CASES: dict[str, Callable[..., object]] = {
    name.removeprefix("run_"): function
    for name, function in list(globals().items())
    if name.startswith("run_") and name != "run_application"
}


def outcome(case: str, arguments: tuple[Any, ...]) -> str:
    """What a case returns or raises, as text."""
    try:
        return repr(CASES[case](*arguments))
    except Exception as error:  # noqa: BLE001 - what is compared
        return f"{type(error).__name__}: {error}"


# -- the other process -----------------------------------------------------------------------

_LENGTH = struct.Struct("=Q")


class OtherForm:
    """A process that runs the cases in the form that this one does not have."""

    def __init__(self) -> None:
        pure = "1" if form.describe() == "compiled" else ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from harness.form_cases import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYFPM_PURE": pure, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.form = self._receive()

    def outcome(self, case: str, arguments: tuple[Any, ...]) -> str:
        """As `outcome`, over there."""
        question = pickle.dumps((case, arguments))
        assert self._process.stdin is not None
        self._process.stdin.write(_LENGTH.pack(len(question)) + question)
        self._process.stdin.flush()
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _receive(self) -> str:
        assert self._process.stdout is not None
        (length,) = _LENGTH.unpack(self._process.stdout.read(_LENGTH.size))
        return self._process.stdout.read(length).decode()


def serve() -> None:
    """Be the other process: say the form, then answer questions until there are no more."""
    answer = form.describe()
    while True:
        data = answer.encode()
        sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
        sys.stdout.buffer.flush()
        size = sys.stdin.buffer.read(_LENGTH.size)
        if not size:
            return
        case, arguments = pickle.loads(sys.stdin.buffer.read(_LENGTH.unpack(size)[0]))
        answer = outcome(case, arguments)
