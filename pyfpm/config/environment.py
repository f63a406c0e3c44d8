"""The grammar of `environment = A="1",B=two`, supervisor's, with its traps turned into errors.

Supervisor splits the text into shell tokens and takes every fourth as a comma without looking, so
that a forgotten comma or quote silently gives other variables than those written. Here each piece
must be what it stands for.
"""

import re
from collections.abc import Mapping

_NAME = r"[A-Za-z_][A-Za-z0-9_.\-]*"
_PAIR = re.compile(
    rf"""\s*(?P<name>{_NAME})\s*=\s*
    (?: "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>[^']*)' | (?P<bare>[\w/.+\-():]+) )""",
    re.VERBOSE | re.DOTALL,
)
_COMMA = re.compile(r"\s*,")
_ESCAPE = re.compile(r"\\([\\\"])")

Pairs = tuple[tuple[str, str], ...]


def is_variable_name(name: str) -> bool:
    """Whether this can name an environment variable."""
    return re.fullmatch(_NAME, name) is not None


def variable_name(key: str) -> str:
    """NAME from the key `env[NAME]`."""
    return key.removeprefix("env[").removesuffix("]")


def parse_environment(text: str) -> Pairs:
    r"""Pairs in the order written; raises ValueError where a comma, a quote or a value is missing.

    Within double quotes `\"` is a quote and `\\` a backslash; single quotes take all as it is.
    """
    pairs: dict[str, str] = {}
    rest = text.strip()
    while rest:
        match = _PAIR.match(rest)
        if match is None:
            raise ValueError(_complaint(rest))
        if match["name"] in pairs:
            raise ValueError(f"{match['name']} stands twice; leave one of them out")
        pairs[match["name"]] = _value(match)
        rest = rest[match.end() :].lstrip()
        if not rest:
            break
        comma = _COMMA.match(rest)
        if comma is None:
            raise ValueError(
                f'a comma is missing before {_shorten(rest)!r}; write the pairs as A="1",B="2",'
                " with quotes around anything but letters, digits and /.+-():_"
            )
        rest = rest[comma.end() :].lstrip()
    return tuple(pairs.items())


def format_environment(environment: Mapping[str, str] | Pairs) -> str:
    """The text that `parse_environment` reads back."""
    return ",".join(f"{name}={_quote(value)}" for name, value in dict(environment).items())


def _value(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return _ESCAPE.sub(r"\1", match["double"])
    return match["bare"] if match["single"] is None else match["single"]


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _complaint(rest: str) -> str:
    name = re.match(rf"({_NAME})\s*=\s*", rest)
    if name is None:
        return f'{_shorten(rest)!r} is not NAME=value; write the pairs as A="1",B="2"'
    after = rest[name.end() :]
    if after[:1] in ('"', "'"):
        return f"the quote after {name[1]}= is never closed (a blank and ; or # starts a comment)"
    if not after or after.startswith(","):
        return f'{name[1]}= has no value; write {name[1]}="" for an empty one'
    return f'the value of {name[1]} needs quotes around it: {name[1]}="…"'


def _shorten(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:30]}…"
