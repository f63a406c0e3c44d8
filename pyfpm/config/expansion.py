"""What stands for something else in a value: `%(here)s`, `%(ENV_NAME)s`, `%%`, `$pool`."""

import re
from collections.abc import Mapping

from pyfpm.config.source import Entry

_SPECIAL = re.compile(r"%%|%\(([^()]*)\)s|\$pool")
_NEEDS_PERCENT = re.compile(r"%(?=%|\([^()]*\)s)")
_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


def expand(entry: Entry, environ: Mapping[str, str], pool: str | None) -> str:
    """The text of an entry with everything filled in; any other `%` stands for itself.

    `pool` is None outside of pools. Raises ValueError for a name that is unknown or not set.
    """

    def fill(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        if match[0] == "$pool":
            if pool is None:
                raise ValueError("$pool is the name of a pool and means nothing outside of one")
            return pool
        return _named(match[1], entry, environ)

    return _SPECIAL.sub(fill, entry.text)


def protect(text: str) -> str:
    """The text that `expand` turns into this one; for `$pool` there is none."""
    return _NEEDS_PERCENT.sub("%%", text)


def variable_reference(text: str) -> str | None:
    """NAME, if the text is `$NAME` and asks for a variable of the master's environment."""
    match = _VARIABLE.fullmatch(text)
    return None if match is None or match[1] == "pool" else match[1]


def _named(name: str, entry: Entry, environ: Mapping[str, str]) -> str:
    if name == "here":
        return entry.folder
    variable = name.removeprefix("ENV_")
    if variable == name:
        raise ValueError(
            f"%({name})s is unknown; there are %(here)s and %(ENV_NAME)s, and %% is a percent sign"
        )
    if variable not in environ:
        raise ValueError(f"%({name})s: the environment has no {variable}; set it before the start")
    return environ[variable]
