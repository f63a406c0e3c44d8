"""Clients of a socket that are processes of other users, with the system's Python."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.fcgi_client import FcgiResponse, make_params

from pyfpm.fastcgi import ClientConnection, EndRequest, Stdout, encode_request

SYSTEM_PYTHON = "/usr/bin/python3"

# Connects, sends what comes on stdin, and passes on what it gets, after a line that says how it
# went. `before` and `between` are code: before the connect, and between it and the request.
_SCRIPT = """\
import os, socket, sys
address, before, between = sys.argv[1:]
data = sys.stdin.buffer.read()
def say(text, received=b""):
    sys.stdout.buffer.write(text.encode() + b"\\n" + received)
    sys.stdout.flush()
    sys.exit()
exec(before)
link = socket.socket(socket.AF_UNIX)
link.settimeout(20)
try:
    link.connect(address)
except OSError as error:
    say(f"not connected: {error.strerror}")
exec(between)
received = b""
try:
    link.sendall(data)
    while piece := link.recv(65536):
        received += piece
except (ConnectionResetError, BrokenPipeError):
    pass
say("answered" if received else "closed", received)
"""


@dataclass(frozen=True)
class Visit:
    """How it went: `not connected: …`, `closed` without a byte, or `answered`."""

    outcome: str
    response: FcgiResponse


def find_system_python() -> str:
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"no {SYSTEM_PYTHON}, and other users may not execute {sys.executable}")
    return SYSTEM_PYTHON


def visit(
    address: str,
    uid: int,
    *,
    gid: int | None = None,
    groups: Sequence[int] = (),
    uri: str = "/pid",
    before: str = "",
    between: str = "",
    launcher: Sequence[str] = (),
) -> Visit:
    """Send one request to `unix:/path` as that user; the group has the same number unless given."""
    done = subprocess.run(
        [
            *(*launcher, find_system_python(), "-c", _SCRIPT),
            *(address.removeprefix("unix:"), before, between),
        ],
        input=encode_request(1, make_params(uri)),
        user=uid,
        group=uid if gid is None else gid,
        extra_groups=list(groups),
        capture_output=True,
        timeout=60,
        check=False,
        cwd="/",
        env={},
    )
    outcome, _, received = done.stdout.partition(b"\n")
    assert outcome, done.stderr.decode()
    return Visit(outcome.decode(), _read(received))


def _read(received: bytes) -> FcgiResponse:
    response = FcgiResponse()
    for event in ClientConnection().receive(received):
        if isinstance(event, Stdout):
            response.raw += event.data
        elif isinstance(event, EndRequest):
            response.complete = True
    return response.parse()
