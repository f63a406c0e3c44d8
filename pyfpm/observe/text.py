"""The status of a pool as text, in PHP-FPM's layout: a name, a colon, the value in column 23."""

from datetime import UTC, datetime, tzinfo

from pyfpm.observe.document import Value, process_to_dict, status_to_dict
from pyfpm.observe.status import PoolStatus

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SEPARATOR = "*" * 24


def render_text(status: PoolStatus, *, full: bool = False, zone: tzinfo = UTC) -> str:
    """The text page; `full` adds a block for each worker. Times are shown in `zone`."""
    lines = [_line(name, value, zone) for name, value in status_to_dict(status).items()]
    if full:
        for process in status.processes:
            lines += ["", _SEPARATOR]
            lines += [_line(name, value, zone) for name, value in process_to_dict(process).items()]
    return "\n".join(lines) + "\n"


def printable(text: str) -> str:
    r"""`text` on one line, without anything that a terminal could take for a command.

    Control and formatting characters become `\xNN` or `\uNNNN`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def format_log_time(epoch_s: int, zone: tzinfo) -> str:
    """A time as web servers log it: `21/Nov/2026:10:00:00 +0000`.

    The month's name is written here, since strftime's depends on the locale.
    """
    moment = datetime.fromtimestamp(epoch_s, zone)
    return f"{moment:%d}/{_MONTHS[moment.month - 1]}/{moment:%Y:%H:%M:%S %z}"


def _line(name: str, value: Value, zone: tzinfo) -> str:
    # PHP-FPM's text page alone writes this name in capitals.
    label = "request URI" if name == "request uri" else name
    return f"{label + ':':<21} {_format_value(name, value, zone)}"


def _format_value(name: str, value: Value, zone: tzinfo) -> str:
    match value:
        case int() if name == "start time":
            return format_log_time(value, zone)
        case float() if name == "last request cpu":
            return f"{value:.2f}"
        case dict():
            counts = (f"{count} {reason}" for reason, count in value.items() if count)
            return ", ".join(counts) or "none"
        case str():
            return printable(value)
        case _:
            return str(value)
