"""The lines that cross the control socket.

Theory of operation. A client sends one line, a JSON object, and reads lines until the reply:

    → {"version": 1, "command": "status", "arguments": {"pool": "shop", "full": false}}
    ← {"progress": "pool shop: 3 of 8 workers replaced"}        any number of these, then
    ← {"ok": true, "result": {…}}                               either this
    ← {"ok": false, "error": "no such pool", "exit_code": 1}    or this

and may then send the next request on the same connection. A progress line with an empty message
says no more than that the master lives and works on the command: it comes every few seconds, so
that a client can tell a reload of ten minutes from a master that hangs.

Lines end with LF and hold no other (JSON escapes it), so a line is a frame and a size limit per
line is a limit on memory. Both sides decode strictly: the master runs as root and its clients need
not, and a key that is not understood is better refused than ignored.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

from pyfpm.errors import ControlError

VERSION = 1

# A request is a command name and a few pool names; 64 KiB also bounds what a hostile client can
# make the master hold. A full status of 1,000 workers is about 1 MB.
MAX_REQUEST_BYTES = 64 * 1024
MAX_REPLY_BYTES = 32 * 1024 * 1024

_OF_REQUEST = ("version", "command", "arguments")
_LONGEST_REASON = 200

JsonObject = dict[str, Any]


class ExitCode(IntEnum):
    """What `pyfpm` ends with; a failed reply carries one. The numbers above 1 are sysexits(3)."""

    DONE = 0
    FAILED = 1
    USAGE = 64
    NO_MASTER = 69
    INTERNAL = 70
    NOT_PERMITTED = 77
    CONFIG = 78


@dataclass(frozen=True, slots=True)
class Request:
    """A command for the master with its named arguments."""

    command: str
    arguments: JsonObject


@dataclass(frozen=True, slots=True)
class Progress:
    """Something worth telling while the command goes on; empty for a mere sign of life."""

    message: str


@dataclass(frozen=True, slots=True)
class Success:
    """The command is done; `result` is its answer."""

    result: JsonObject


@dataclass(frozen=True, slots=True)
class Failure:
    """The command was refused or failed; `exit_code` is for the command line, 1 to 255."""

    error: str
    exit_code: int = ExitCode.FAILED


Reply = Progress | Success | Failure


def encode_request(request: Request) -> bytes:
    """One line for the master."""
    return _encode({"version": VERSION, "command": request.command, "arguments": request.arguments})


def decode_request(line: bytes) -> Request:
    """The inverse of encode_request.

    Raises ControlError (exit code 64) for anything but exactly such a line, and says so when the
    client speaks another version.
    """
    fields = _decode(line, ExitCode.USAGE)
    if "version" not in fields:
        wanted = ", ".join(_OF_REQUEST)
        raise _refusal(f"it has no version: expected {wanted}", ExitCode.USAGE)
    version = fields["version"]
    if version != VERSION or isinstance(version, bool):
        raise ControlError(
            f"control protocol version {_shown(repr(version))}: the master speaks version"
            f" {VERSION}; use the pyfpm that started it",
            ExitCode.USAGE,
        )
    _expect_keys(fields, _OF_REQUEST, ExitCode.USAGE)
    command, arguments = fields["command"], fields["arguments"]
    if not isinstance(command, str):
        raise _refusal("command: expected a string", ExitCode.USAGE)
    if not isinstance(arguments, dict):
        raise _refusal("arguments: expected an object", ExitCode.USAGE)
    return Request(command, arguments)


def encode_reply(reply: Reply) -> bytes:
    """One line for the client."""
    match reply:
        case Progress(message):
            return _encode({"progress": message})
        case Success(result):
            return _encode({"ok": True, "result": result})
        case Failure(error, exit_code):
            return _encode({"ok": False, "error": error, "exit_code": int(exit_code)})


def decode_reply(line: bytes) -> Reply:
    """The inverse of encode_reply; raises ControlError (exit code 70) for any other line."""
    match fields := _decode(line, ExitCode.INTERNAL):
        case {"progress": str(message)}:
            _expect_keys(fields, ("progress",), ExitCode.INTERNAL)
            return Progress(message)
        case {"ok": True, "result": dict(result)}:
            _expect_keys(fields, ("ok", "result"), ExitCode.INTERNAL)
            return Success(result)
        case {"ok": False, "error": str(error), "exit_code": int(exit_code)}:
            _expect_keys(fields, ("ok", "error", "exit_code"), ExitCode.INTERNAL)
            if isinstance(exit_code, bool) or not 1 <= exit_code <= 255:
                raise _refusal("exit code out of range", ExitCode.INTERNAL)
            return Failure(error, exit_code)
        case _:
            raise _refusal("not a reply", ExitCode.INTERNAL)


def _encode(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _decode(line: bytes, exit_code: int) -> JsonObject:
    try:
        fields = json.loads(
            line.decode(),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except RecursionError:  # once per nested bracket, and 64 KiB hold 65,536 of them
        raise _refusal("nested too deeply", exit_code) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = str(error)
        raise _refusal(f"not JSON: {reason[:1].lower()}{reason[1:]}", exit_code) from None
    except ValueError as error:
        raise _refusal(str(error), exit_code) from None
    if not isinstance(fields, dict):
        raise _refusal("not a JSON object", exit_code)
    return fields


def _refusal(reason: str, exit_code: int) -> ControlError:
    """Of a line: a request is its sender's mistake, a reply that of the master."""
    what = "control request" if exit_code == ExitCode.USAGE else "control reply"
    return ControlError(f"{what}: {_shown(reason, _LONGEST_REASON)}", exit_code)


def _shown(text: str, most: int = 40) -> str:
    """What the other side wrote, as far as it helps it to be told so again."""
    return text if len(text) <= most else f"{text[:most]}…"


def _unique(pairs: Iterable[tuple[str, object]]) -> JsonObject:
    fields: JsonObject = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name!r} is given twice")
        fields[name] = value
    return fields


def _finite(text: str) -> float:
    """A number with a fraction or an exponent; beyond a float's range Python would say inf."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond any number that is meant")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _expect_keys(fields: JsonObject, expected: tuple[str, ...], exit_code: int) -> None:
    if set(fields) != set(expected):
        found = ", ".join(sorted(fields))
        raise _refusal(f"expected {', '.join(expected)}; got {found}", exit_code)
