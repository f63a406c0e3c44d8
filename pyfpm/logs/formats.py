"""How one record becomes one line, or several.

Text is PHP-FPM's form, so that its parsers read ours: `[21-Nov-2026 10:00:00] NOTICE: message`,
local time without a zone. A message of several lines (a traceback) becomes several log lines, each
with its own prefix, so that nobody can forge a line of another pool by printing a line break.
JSON is one object a line with `time`, `level`, `pool`, `pid`, `event`, `message`.

What workers print comes as one record of many lines. It is formatted as a whole: a record, a date
and a write of its own cost 23 microseconds a line, all together about one.
"""

import json
import logging
import re
from datetime import UTC, datetime

from pyfpm.logs.levels import name_of

LINES_MOST = 200
"""Of one message: a text of 64 KiB may consist of line breaks, and each line gets a prefix."""

OUTPUT = "output"
"""The event of what workers print: nobody knows what of it matters, so it is not cut.

Its message is one or several of their lines, each of which is written as if it came alone.
"""

# C0 controls but tab, DEL, and the C1 range: terminals act on them. And what changes the direction
# of writing, so that a line looks like another one than it is.
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
_CONTROLS = {
    **{code: f"\\x{code:02x}" for code in (*range(9), *range(10, 32), *range(127, 160))},
    **{code: f"\\u{code:04x}" for code in _DIRECTIONS},
}
_LINE_BREAK = ord("\n")
_CONTROLS_IN_LINES = {code: shown for code, shown in _CONTROLS.items() if code != _LINE_BREAK}
# JSON itself escapes C0 alone. U+2028 and U+2029 end a line for some readers of JSON lines.
_JSON_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(127, 160), *_DIRECTIONS)}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


_find_control = re.compile(f"[{''.join(map(chr, _CONTROLS_IN_LINES))}]").search
_quote = json.JSONEncoder(ensure_ascii=False).encode


def clean(text: str) -> str:
    """One line of text with every control character made visible."""
    return text.translate(_CONTROLS)


def _clean_lines(lines: list[str]) -> list[str]:
    """Lines, each as `clean` shows it; one at least."""
    return _replace("\n".join(lines), _CONTROLS_IN_LINES).split("\n")


def _replace(text: str, controls: dict[int, str]) -> str:
    """To replace takes 1.5 ns a character of ASCII and 45 of any other text, to search takes 4."""
    return text.translate(controls) if text.isascii() or _find_control(text) else text


def cut(text: str, most: int) -> str:
    """At most `most` characters, the last three dots where something was left out."""
    return text if len(text) <= most else text[: max(0, most - 3)] + "..."


def count_lines(text: str) -> int:
    """How many lines of the log a message becomes."""
    return min(len(text.splitlines()), LINES_MOST) or 1


def count_output_lines(text: str) -> int:
    """How many lines of the log the lines of a worker become, but for those that are continued."""
    return len(_lines_of_output(text))


def moment_of(record: logging.LogRecord) -> datetime:
    """When it was made, in the machine's zone."""
    return datetime.fromtimestamp(record.created, UTC).astimezone()


def format_date(moment: datetime) -> str:
    """PHP-FPM's form, which names no zone."""
    # strftime would write the month in the words of whatever locale is set.
    return f"{moment.day:02d}-{_MONTHS[moment.month - 1]}-{moment.year} {moment:%H:%M:%S}"


class TextFormatter(logging.Formatter):
    """PHP-FPM's form. `limit` is log_limit, the longest line in characters."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def format(self, record: logging.LogRecord) -> str:
        """One or several lines, without the last line break."""
        moment = moment_of(record)
        date = format_date(moment)
        if record.levelno <= logging.DEBUG:
            date += f".{moment.microsecond:06d}"
        pool = getattr(record, "pool", "")
        prefix = f"[{date}] {name_of(record.levelno)}: " + (f"[pool {pool}] " if pool else "")
        message = _message_of(self, record)
        if getattr(record, "event", None) != OUTPUT:
            lines = _clean_lines(_thinned(message.splitlines()))
            return "\n".join(cut(prefix + line, self._limit) for line in lines)
        lines = _clean_lines(_lines_of_output(message))
        room = max(1, self._limit - len(prefix))
        if max(map(len, lines)) > room:
            lines = [piece for line in lines for piece in _pieces(line, room)]
        return prefix + f"\n{prefix}".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `limit` bounds the message, so that the object stays whole."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def format(self, record: logging.LogRecord) -> str:
        """One line, or one for each that a worker printed, without the last line break."""
        moment = moment_of(record)
        values: dict[str, object] = {
            "time": moment.isoformat(timespec="microseconds"),
            "level": name_of(record.levelno).lower(),
            "pool": getattr(record, "pool", "") or None,
            "pid": getattr(record, "worker_pid", None) or record.process,
            "event": getattr(record, "event", None),
        }
        fields = getattr(record, "fields", {})
        more = {x: fields[x] for x in fields if x not in values and x != "message"}
        begin, end = _render_json(values)[:-1], _render_json(more)[1:]
        end = f", {end}" if more else end
        message, most = _message_of(self, record), max(self._limit, 16 * 1024)
        messages = message.split("\n") if values["event"] == OUTPUT else [message]
        text = "\n".join(f'{begin}, "message": {_quote(cut(x, most))}{end}' for x in messages)
        return _replace(text, _JSON_CONTROLS)


def _render_json(values: dict[str, object]) -> str:
    return json.dumps(values, ensure_ascii=False, default=str)


def _lines_of_output(text: str) -> list[str]:
    """The lines of the log that one or several lines of a worker become; one at least."""
    ended = f"{text}\n"
    lines = ended.splitlines()
    if len(lines) == ended.count("\n"):  # nothing else ends a line in it, but for CR LF
        return lines
    return [part for line in text.split("\n") for part in _thinned(line.splitlines()) or [""]]


def _pieces(line: str, most: int) -> list[str]:
    """A line that is continued on the next; nothing of it is lost."""
    return [line[start : start + most] for start in range(0, len(line) or 1, most)]


def _thinned(lines: list[str]) -> list[str]:
    """At most LINES_MOST lines, without those in the middle where there are more."""
    left_out = len(lines) - LINES_MOST
    if left_out <= 0:
        return lines
    half = LINES_MOST // 2
    return [*lines[:half], f"… {left_out} lines left out …", *lines[-half:]]


def _message_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.exc_info:
        message += "\n" + formatter.formatException(record.exc_info)
    return message
