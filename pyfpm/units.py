"""Times, sizes, booleans and file modes as they are written in configuration files.

Each `parse_*` raises ValueError with a sentence that says what would be right; `format_*` is its
inverse for every value that the text form can express.
"""

import re

_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
# At most 12 digits a part: far beyond any real limit, and never near the end of a float's integers.
_TIME = re.compile(
    r"(?:([0-9]{1,12})d)?(?:([0-9]{1,12})h)?(?:([0-9]{1,12})m(?!s))?"
    r"(?:([0-9]{1,12})s)?(?:([0-9]{1,12})ms)?"
)
_SECONDS = re.compile(r"[0-9]{1,12}")
_DIGITS = re.compile(r"[0-9]{2,}")
_SIZE = re.compile(r"([0-9]{1,15})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_BOOLEANS = {
    "yes": True,
    "on": True,
    "true": True,
    "1": True,
    "no": False,
    "off": False,
    "false": False,
    "0": False,
}
_MODE = re.compile(r"[0-7]{1,4}")


def parse_time(text: str) -> float:
    """Seconds from `30`, `30s`, `5m`, `500ms`, `1h30m`, `2d`; a bare number means seconds."""
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _TIME.fullmatch(text.lower())
    if match is None or not text:
        _refuse_length(text, _SECONDS, _TIME)
        raise ValueError(f"{text!r} is not a time; write it as 30, 30s, 5m, 500ms or 1h30m")
    parts = zip(match.groups(default="0"), _MILLISECONDS.values(), strict=True)
    return sum(int(count) * unit for count, unit in parts) / 1000


def format_time(seconds: float) -> str:
    """The shortest text for a time, to the millisecond: 5400.0 is `1h30m`."""
    rest = round(seconds * 1000)
    parts = []
    for unit, milliseconds in _MILLISECONDS.items():
        count, rest = divmod(rest, milliseconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Bytes from `512`, `64KB`, `1M`, `1GiB`; every unit is a power of 1024."""
    match = _SIZE.fullmatch(text)
    if match is None:
        _refuse_length(text, _SIZE)
        raise ValueError(f"{text!r} is not a size; write it as 512, 64KB, 1M or 1GiB")
    digits, unit = match.groups()
    return int(digits) << (10 * _SIZE_POWERS[unit.lower()])


def format_size(size_bytes: int) -> str:
    """The text with the largest unit that loses nothing: 65536 is `64K`, 1000 is `1000`."""
    for unit, power in reversed(_SIZE_POWERS.items()):
        count, rest = divmod(size_bytes, 1 << (10 * power))
        if count and not rest:
            return f"{count}{unit.upper()}"
    return str(size_bytes)


def parse_boolean(text: str) -> bool:
    """True or False from yes, on, true, 1 or no, off, false, 0, in any case."""
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither yes nor no; write yes or no") from None


def format_boolean(value: bool) -> str:
    """`yes` or `no`."""
    return "yes" if value else "no"


def parse_mode(text: str) -> int:
    """A file mode or umask from one to four octal digits, such as `0660`."""
    if not _MODE.fullmatch(text):
        raise ValueError(f"{text!r} is not a mode; write it in octal digits, such as 0660")
    return int(text, 8)


def format_mode(mode: int) -> str:
    """Four octal digits: 0o660 is `0660`."""
    return f"{mode:04o}"


def counted(number: int, one: str, several: str = "") -> str:
    """`1 worker`, `2 workers`; `several` is the plural where it takes more than an s."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def _refuse_length(text: str, *forms: re.Pattern[str]) -> None:
    """ValueError for what would be right with fewer digits: nobody should look for a wrong unit."""
    if text and any(form.fullmatch(_DIGITS.sub("9", text.lower())) for form in forms):
        raise ValueError(f"{text!r} is too large; write less")
