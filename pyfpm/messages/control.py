"""The messages on the control sockets, one SEQPACKET datagram each.

Each message is a frozen dataclass of plain fields; on the wire it is a JSON object with the
class name as `kind`. Decoding checks every field against its declared type, because the master
treats what comes from zygotes and workers as hostile.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from pyfpm.errors import ProtocolError

MAX_MESSAGE_BYTES = 65536
# Of all texts of a message together. JSON writes a control character in six bytes, so this stays
# below MAX_MESSAGE_BYTES whatever the characters are.
_MOST_CHARACTERS = 8192
# What a cut adds to a text: the words that say how much was left out.
_CUT_CHARACTERS = 64
# Of what is quoted where a message is refused.
_LONGEST_FAULT, _LONGEST_SHOWN, _MOST_SHOWN = 120, 40, 3
# Larger than any pid, slot, count or duration in seconds, and small enough for whatever the
# receiver computes with it: a hostile 1e300 or NaN would raise far from here.
_MOST_NUMBER = 2**32


@dataclass(frozen=True, slots=True)
class Spawn:
    """Master to zygote: fork a worker.

    Four descriptors come with it: control socket, stdout, stderr, and the pipe that takes its
    stacks (`ReservedSignal.DUMP_STACKS`). Where there is an access log, it is the fifth.
    """

    serial: int
    slot: int


@dataclass(frozen=True, slots=True)
class Spawned:
    """Zygote to master: this worker has this pid. A claim until the kernel confirms it."""

    serial: int
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """Zygote to master: no worker came of the request."""

    serial: int
    error: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A zygote may be asked for workers, or a worker serves. `preloaded`: the app is imported."""

    boot_s: float
    preloaded: bool
    reason: str


@dataclass(frozen=True, slots=True)
class UnsafePreload:
    """Zygote to master: the import left what a fork would break; another zygote must not import."""

    reason: str


@dataclass(frozen=True, slots=True)
class BootFailed:
    """The application could not be loaded; `text` is for the log, with the traceback."""

    text: str


class Parked(StrEnum):
    """What a draining worker does with its idle kept connections.

    HAND_OFF gives them to other workers of the pool. KEEP serves them until the web server closes
    them or they have been idle for keepalive_timeout: for workers whose channel nobody of the next
    generation reads. CLOSE is for the end of the service.
    """

    HAND_OFF = "hand_off"
    KEEP = "keep"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Drain:
    """Master to worker: serve what you have, then end. `parked` is a value of `Parked`."""

    parked: str


@dataclass(frozen=True, slots=True)
class Draining:
    """Worker to master: I drain, and not because you said so.

    `reason` is the name of a signal, or `timeout` or `out_of_memory`: after these two nobody
    should wait for a replacement, since the process may be damaged.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Due:
    """Worker to master: replace me, I serve until then. `max_requests` or `max_memory`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Poke:
    """Master to worker: register the listeners anew and look.

    A worker that is in its loop writes a new STAGE_SINCE_NS afterwards, so it is also how the
    master finds out whether a worker hangs.
    """


@dataclass(frozen=True, slots=True)
class NewAccessLog:
    """Master to worker: write to the descriptor that comes with this, the log was rotated."""


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """Master to worker: your /proc/PID/statm, which a sandbox does not let you open yourself."""


@dataclass(frozen=True, slots=True)
class LinesLost:
    """Worker to master: so many lines of the access log could not be written."""

    lines: int
    reason: str


@dataclass(frozen=True, slots=True)
class Saturated:
    """Worker to master: connections of mine are readable, I am busy and nobody is idle."""

    pending: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """Worker to master: a line for the log about the worker itself, not application output."""

    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Worker to master: bad input, refused for `reason`, a value of scoreboard.refusal.Refusal.

    Only the first few in a while are reported; all of them count in the slot. `peer` sent it.
    """

    reason: str
    peer: str
    text: str


Message = (
    Spawn
    | Spawned
    | SpawnFailed
    | Ready
    | UnsafePreload
    | BootFailed
    | Drain
    | Draining
    | Due
    | Poke
    | NewAccessLog
    | MemoryFile
    | LinesLost
    | Saturated
    | LogLine
    | Refused
)
_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        Spawn,
        Spawned,
        SpawnFailed,
        Ready,
        UnsafePreload,
        BootFailed,
        Drain,
        Draining,
        Due,
        Poke,
        NewAccessLog,
        MemoryFile,
        LinesLost,
        Saturated,
        LogLine,
        Refused,
    )
}


def encode_message(message: Message) -> bytes:
    """One datagram; texts are cut in the middle so that it stays below MAX_MESSAGE_BYTES."""
    values = {name: getattr(message, name) for name in message.__slots__}
    texts = sum(isinstance(value, str) for value in values.values())
    if texts:
        most = _MOST_CHARACTERS // texts
        values = {name: _cut(value, most) for name, value in values.items()}
    data = json.dumps({"kind": type(message).__name__, **values}, ensure_ascii=False)
    return data.encode("utf-8", "replace")


def decode_message(data: bytes) -> Message:
    """The message in one datagram; ProtocolError for anything that is not exactly one."""
    values = _parse(data)
    kind = _kind_of(values)
    wanted = {field.name: field.type for field in fields(kind)}
    if values.keys() != wanted.keys():
        expected, got = _listed(wanted) or "no fields", _listed(values) or "none"
        expected = f"the fields {expected}" if wanted else expected
        raise ProtocolError(f"control message {kind.__name__}: expected {expected}; got {got}")
    for name, declared in wanted.items():
        if not _is_of(values[name], declared):
            fault = _fault_of(values[name], declared)
            raise ProtocolError(f"control message {kind.__name__}: {name}: {fault}")
    texts = [value for value in values.values() if isinstance(value, str)]
    if sum(map(len, texts)) > _MOST_CHARACTERS + len(texts) * _CUT_CHARACTERS:
        raise ProtocolError(f"control message {kind.__name__}: its texts are too long")
    return kind(**values)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except RecursionError as error:
        raise ProtocolError("control message: nested too deeply") from error
    except ValueError as error:
        reason = str(error)
        raise ProtocolError(
            f"control message: not JSON: {reason[:1].lower()}{reason[1:_LONGEST_FAULT]}"
        ) from error
    if not isinstance(values, dict):
        raise ProtocolError(f"control message: expected a JSON object, got {_sort_of(values)}")
    return values


def _kind_of(values: dict[str, Any]) -> type[Message]:
    """Taken out of the values; the rest are the fields."""
    if "kind" not in values:
        raise ProtocolError("control message: it has no kind")
    name = values.pop("kind")
    if not isinstance(name, str):
        raise ProtocolError(f"control message: its kind is {_sort_of(name)}, not a text")
    if name not in _KINDS:
        raise ProtocolError(f"control message: there is no kind {_shown(name)!r}")
    return _KINDS[name]


def _fault_of(value: object, declared: object) -> str:
    """What is wrong with a field."""
    got = _sort_of(value)
    if declared is str:
        return f"expected a text, got {'half a character' if got == 'a text' else got}"
    if declared is bool:
        return f"expected true or false, got {got}"
    whole = "a whole number" if declared is int else "a number"
    got = got.replace("a number", "another number")
    return f"expected {whole} from 0 to {_MOST_NUMBER - 1}, got {got}"


def _sort_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def _listed(names: Iterable[str]) -> str:
    shown = [_shown(name) for name in names]
    return ", ".join([*shown[:_MOST_SHOWN], "…"] if len(shown) > _MOST_SHOWN else shown)


def _shown(name: str) -> str:
    known = name.encode(errors="backslashreplace").decode()
    return known if len(known) <= _LONGEST_SHOWN else f"{known[:_LONGEST_SHOWN]}…"


def _is_of(value: object, declared: object) -> bool:
    # Exact types: a bool is an int to isinstance.
    if type(value) is not declared and not (declared is float and type(value) is int):
        return False
    if isinstance(value, (int, float)):
        return 0 <= value < _MOST_NUMBER  # false for NaN too
    return not isinstance(value, str) or _is_unicode(value)


def _is_unicode(text: str) -> bool:
    """Whether `text` can be written as UTF-8; JSON can smuggle half of a surrogate pair in."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cut(value: object, most: int) -> object:
    if isinstance(value, str) and len(value) > most:
        half = most // 2
        return f"{value[:half]}\n… {len(value) - 2 * half} characters left out …\n{value[-half:]}"
    return value
