"""The kinds of values: how each is called, read from text, and written back.

A kind is one check function of the generated configspec. `parse` turns text into a value or raises
ValueError with what would be right; `place`, where a kind has one, then fills in what depends on
where the text stands: the folder of a relative path, the origin of an application.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pyfpm.cgi import PathInfo
from pyfpm.config.addresses import (
    IpNetwork,
    ListenAddress,
    UnixAddress,
    format_address,
    format_network,
    parse_address,
    parse_network,
)
from pyfpm.config.environment import format_environment, parse_environment
from pyfpm.config.source import Entry
from pyfpm.config.values import (
    AppPath,
    Interface,
    Isolation,
    LogFormat,
    LogLevel,
    Preload,
    Sandbox,
    format_percent,
    format_processors,
    format_share,
    parse_app_path,
    parse_each,
    parse_percent,
    parse_processors,
    parse_share,
)
from pyfpm.observe import check_access_format
from pyfpm.policy import ProcessManager
from pyfpm.units import (
    format_boolean,
    format_mode,
    format_size,
    format_time,
    parse_boolean,
    parse_mode,
    parse_size,
    parse_time,
)

# In containers people write the paths; one word for it is enough for everybody who asks.
_STDERR_PATHS = {"/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"}
_STDOUT_PATHS = {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}
_LONGEST_S = 10 * 366 * 86_400  # in nanoseconds this still fits into 64 bits, summed up or not
_CONTINUED = (
    "the value goes on over the next lines, because they are indented deeper;"
    " start each key at the same column"
)
# A key of ours; variables in a list of them are seldom in lower case, with a blank before the `=`.
_SETTING = re.compile(r"[a-z][a-z0-9_.]*(\[[^\]]*\])? = ")
_QUOTED = re.compile(r"""(["'])(.+)\1""")
_UNLIMITED = "unlimited"
_MOST_DIGITS = 20
_LARGEST = 10**15 - 1
_LARGEST_LIMIT = 2**63 - 1
_BETWEEN_WORDS = re.compile(r"[\s,]+")
_LISTED_PATH = re.compile(r'[\s,]*(?:"([^"]+)"|([^\s,"]+))(?=[\s,]|$)')
# The characters that PHP-FPM allows in status and ping paths; what they answer is matched exactly,
# before any decoding.
_URL_PATH = re.compile(r"/[A-Za-z0-9/\-_.~]+")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. `name` is its check in the configspec, `wants` its name in the docs."""

    name: str
    wants: str
    parse: Callable[[str], object]
    format: Callable[[Any], str] = str
    place: Callable[[Any, Entry], object] | None = None
    several_lines: bool = False

    def check(self, entry: Entry) -> object:
        """The value of an entry, ready for use; raises ValueError."""
        if "\n" in entry.text and not self.several_lines:
            raise ValueError(_CONTINUED)
        try:
            value = self.parse(entry.text)
        except ValueError as error:
            raise ValueError(self._explain(entry.text) or str(error)) from None
        return value if self.place is None else self.place(value, entry)

    def _explain(self, text: str) -> str:
        """What is wrong with the form of the file; empty if it is the value itself."""
        if any(_SETTING.match(line) for line in text.split("\n")[1:]):
            return _CONTINUED
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            return ""
        try:
            self.parse(quoted[2])
        except ValueError:
            return ""
        return f"the quotes in {text} are part of the value; write {quoted[2]}"


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("the value is empty; give one, or leave the key out for its default")
    return text


def choice(name: str, values: type[Enum], later: tuple[str, ...] = ()) -> Kind:
    """One word of a closed set; `later` are words of the contract that are not built yet."""
    words = {str(member.value): member for member in values}

    def parse(text: str) -> Enum:
        word = text.lower()
        if word in later:
            raise ValueError(f"{word} is not supported yet; write {' or '.join(words)}")
        if word not in words:
            known = ", ".join(words)
            wrong = f"is not one of {known}" if len(words) > 1 else f"is unknown; write {known}"
            raise ValueError(f"{text!r} {wrong}")
        return words[word]

    return Kind(name, ", ".join(words), parse, lambda value: str(value.value))


def _whole(name: str, minimum: int, maximum: int | None = None, largest: int = _LARGEST) -> Kind:
    wants = f"number {_limits(minimum, maximum)}"
    return Kind(name, wants, lambda text: _number(text, minimum, maximum, largest))


def _number(text: str, minimum: int, maximum: int | None, largest: int = _LARGEST) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError(f"{text!r} is not a whole number; write one {_limits(minimum, maximum)}")
    most = largest if maximum is None else maximum
    # Python refuses to read thousands of digits.
    number = int(text) if len(text) <= _MOST_DIGITS else most + 1
    if not minimum <= number <= most:
        limits = _limits(minimum, most if number > most else maximum)
        raise ValueError(f"{text} is out of range; write a number {limits}")
    return number


def _limits(minimum: int, maximum: int | None) -> str:
    return f"from {minimum}" + ("" if maximum is None else f" to {maximum}")


def _time(text: str) -> float:
    seconds = parse_time(text)
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is more than ten years")
    return seconds


def _duration(text: str) -> float:
    seconds = _time(text)
    if not seconds:
        raise ValueError(f"{text!r} is no time at all; write at least 1ms")
    return seconds


def _some_bytes(text: str) -> int:
    size = parse_size(text)
    if not size:
        raise ValueError(f"{text!r} leaves no room at all; write at least 1")
    return size


def _only_one(text: str) -> int:
    if text != "1":
        raise ValueError("anything but 1 is not supported yet; write 1 and raise pm.max_children")
    return 1


def _below(path: str, entry: Entry) -> str:
    return os.path.normpath(os.path.join(entry.folder, path))


def _error_log(text: str) -> str:
    if text in _STDERR_PATHS:
        return "stderr"
    return text.lower() if text.lower() in {"stderr", "syslog"} else _not_empty(text)


def _place_error_log(value: str, entry: Entry) -> str:
    return value if value in {"stderr", "syslog"} else _below(value, entry)


def _access_log(text: str) -> str:
    if text.lower() == "stdout" or text in _STDOUT_PATHS:
        return "stdout"
    if text.lower() == "syslog":
        raise ValueError("syslog takes no access log; write a path, stdout or stderr")
    return _error_log(text)


def _place_access_log(value: str, entry: Entry) -> str:
    return value if value in {"stdout", "stderr"} else _below(value, entry)


def _request_paths(text: str) -> tuple[str, ...]:
    return parse_each(_request_path, (line.strip() for line in text.splitlines() if line.strip()))


def _request_path(path: str) -> str:
    if not path.startswith("/") or "?" in path:
        raise ValueError(
            f"{path!r} is not a path of a request; write it as /health, without a query string"
        )
    return path


def _place_app(app: AppPath, entry: Entry) -> AppPath:
    return replace(app, origin=entry.origin)


def _addresses(text: str) -> tuple[ListenAddress, ...]:
    found = parse_each(parse_address, _words(text))
    if not found:
        raise ValueError("the value is empty; write /path, unix:/path, host:port or a port")
    for address in found:
        if found.count(address) > 1:
            raise ValueError(f"{format_address(address)} stands twice; leave one of them out")
    return found


def _place_addresses(
    addresses: tuple[ListenAddress, ...], entry: Entry
) -> tuple[ListenAddress, ...]:
    return tuple(
        UnixAddress(_below(address.path, entry)) if isinstance(address, UnixAddress) else address
        for address in addresses
    )


def _format_addresses(addresses: tuple[ListenAddress, ...]) -> str:
    return " ".join(format_address(address) for address in addresses)


def _networks(text: str) -> tuple[IpNetwork, ...]:
    return parse_each(parse_network, _words(text))


def _format_networks(networks: tuple[IpNetwork, ...]) -> str:
    return ", ".join(format_network(network) for network in networks)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in _BETWEEN_WORDS.split(text) if word)


def _paths(text: str) -> tuple[str, ...]:
    """Separated by blanks, commas or lines; one that holds any of these stands in quotes."""
    found: list[str] = []
    rest = text.strip(" \t\n,")
    while rest:
        match = _LISTED_PATH.match(rest)
        if match is None:
            raise ValueError(
                f"{rest!r} is no list of paths; separate them by blanks or commas, and put double"
                " quotes around one that holds a blank or a comma"
            )
        found.append(match[1] or match[2])
        rest = rest[match.end() :].lstrip(" \t\n,")
    return tuple(dict.fromkeys(found))


def _place_paths(paths: tuple[str, ...], entry: Entry) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_below(path, entry) for path in paths))


def _format_paths(paths: tuple[str, ...]) -> str:
    return " ".join(f'"{path}"' if _BETWEEN_WORDS.search(path) else path for path in paths)


def _umask(text: str) -> int:
    try:
        mask = parse_mode(text)
    except ValueError:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise ValueError(f"{text!r} is not a umask; write it in octal digits, such as 022")
    return mask


def _nice(text: str) -> int:
    # PHP-FPM's range ends at 20, which the kernel takes for 19.
    return 19 if text == "20" else _number(text, -20, 19)


def _limit(text: str) -> int:
    if text.lower() == _UNLIMITED:
        return -1
    size = parse_size(text)
    if size > _LARGEST_LIMIT:
        raise ValueError(f"{text!r} is more than the kernel can count; write {_UNLIMITED}")
    return size


def _format_limit(value: int) -> str:
    return _UNLIMITED if value == -1 else format_size(value)


def _url_path(text: str) -> str:
    if not _URL_PATH.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a path such as /status: a slash, then letters, digits and / - _ . ~"
        )
    return text


def _mount(text: str) -> str:
    if text and (not text.startswith("/") or text.endswith("/") or re.search(r"[\s?#]", text)):
        raise ValueError(
            f"{text!r} is not a prefix such as /shop, without a slash at its end;"
            " leave it empty for the root"
        )
    return text


TEXT = Kind("text", "text", _not_empty)
PERCENT = Kind("percent", "per cent from 0% to 100%", parse_percent, format_percent)
SHARE = Kind("share", "per cent or number", parse_share, format_share)
WORDS = Kind("words", "list of names", _words, ", ".join, several_lines=True)
BOOLEAN = Kind("boolean", "yes or no", parse_boolean, format_boolean)
TIME = Kind("time", "time", _time, format_time)
DURATION = Kind("duration", "time above 0", _duration, format_time)
SIZE = Kind("size", "size", parse_size, format_size)
SOME_BYTES = Kind("some_bytes", "size above 0", _some_bytes, format_size)
MODE = Kind("mode", "octal mode", parse_mode, format_mode)
UMASK = Kind("umask", "octal mask", _umask, format_mode)
PATH = Kind("path", "path", _not_empty, place=_below)
PATHS = Kind(
    "paths", "list of paths", _paths, _format_paths, place=_place_paths, several_lines=True
)
ERROR_LOG = Kind("error_log", "path, stderr or syslog", _error_log, place=_place_error_log)
ACCESS_LOG = Kind("access_log", "path, stdout or stderr", _access_log, place=_place_access_log)
ACCESS_FORMAT = Kind("access_format", "combined, json or a format", check_access_format)
REQUEST_PATHS = Kind(
    "request_paths", "URL path, one a line", _request_paths, "\n".join, several_lines=True
)
URL_PATH = Kind("url_path", "URL path", _url_path)
MOUNT = Kind("mount", "URL prefix", _mount)
APP = Kind("app", "module:callable", parse_app_path, place=_place_app)
ADDRESSES = Kind(
    "addresses",
    "one or several addresses",
    _addresses,
    _format_addresses,
    place=_place_addresses,
    several_lines=True,
)
NETWORKS = Kind(
    "networks", "addresses and networks", _networks, _format_networks, several_lines=True
)
ENVIRONMENT = Kind(
    "environment", 'A="1",B="2"', parse_environment, format_environment, several_lines=True
)
NOT_NEGATIVE = _whole("not_negative", 0)
POSITIVE = _whole("positive", 1)
# More processes than PID_MAX_LIMIT there cannot be (proc(5)): the slip of a key, or a byte count.
WORKERS = _whole("workers", 1, largest=2**22)
TRACE_DEPTH = _whole("trace_depth", 1, 100)  # more faulthandler does not show
BACKLOG = _whole("backlog", -1, 2**31 - 1)
NICE = Kind("nice", "number from -20 to 19", _nice)
OOM_SCORE_ADJ = _whole("oom_score_adj", -1000, 1000)
PROCESSORS = Kind("processors", "numbers and ranges", parse_processors, format_processors)
# Fewer leave no room for what a worker has open before its first request.
FILE_LIMIT = _whole("file_limit", 64, 2**31 - 1)
MASTER_FILES = _whole("master_files", 64)  # what is too much it says itself, and goes on
LIMIT = Kind("limit", "size or unlimited", _limit, _format_limit)
LOG_LIMIT = _whole("log_limit", 512, 2**31 - 1)
ONLY_ONE = Kind("only_one", "1", _only_one)
LOG_LEVEL = choice("log_level", LogLevel)
LOG_FORMAT = choice("log_format", LogFormat)
INTERFACE = choice("interface", Interface, later=("asgi",))
ISOLATION = choice("isolation", Isolation, later=("fork",))
PRELOAD = choice("preload", Preload)
SANDBOX = choice("sandbox", Sandbox)
PATH_INFO = choice("path_info", PathInfo)
PROCESS_MANAGER = choice("process_manager", ProcessManager)
