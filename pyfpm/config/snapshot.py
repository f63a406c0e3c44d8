"""Options as texts and back, exactly: for a master that hands them to its successor.

A pool may have to serve on with the options that it was started with although its files say
something else by now, so the texts are those of the values, not of the files. They are the ones
that `check --dump` shows, with two exceptions: paths of sockets may hold blanks, where a list of
addresses would be torn, and `app` has an origin beside its text.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyfpm.config.addresses import format_address, parse_address
from pyfpm.config.options import MAIN, POOL, MainOptions, Option, PoolOptions, Scope
from pyfpm.config.options.kinds import ADDRESSES

Texts = dict[str, str | None]
"""Each option's value as text, by the option's name; None for an option that is not set."""

_ORIGIN = "app (origin)"


def snapshot_options(options: MainOptions | PoolOptions) -> Texts:
    """The options of `[pyfpm]` or of one pool as texts; planned ones are left out."""
    scope = MAIN if isinstance(options, MainOptions) else POOL
    texts = {
        option.name: _format(option, getattr(options, field))
        for field, option in scope.by_field.items()
        if not option.planned
    }
    if isinstance(options, PoolOptions):
        texts[_ORIGIN] = options.app.origin
    return texts


def restore_main(texts: Mapping[str, str | None]) -> MainOptions:
    """The inverse of `snapshot_options`; ValueError as `restore_pool`."""
    return MainOptions(**_values(MAIN, texts))


def restore_pool(name: str, texts: Mapping[str, str | None]) -> PoolOptions:
    """The inverse of `snapshot_options`.

    An option that the texts lack has its default: it is newer than they are. ValueError for one
    that is unknown, or whose text is not understood.
    """
    rest = dict(texts)
    origin = rest.pop(_ORIGIN, "")
    options = PoolOptions(name=name, **_values(POOL, rest))
    return replace(options, app=replace(options.app, origin=origin or ""))


def _values(scope: Scope, texts: Mapping[str, str | None]) -> dict[str, Any]:
    by_name = {option.name: field for field, option in scope.by_field.items() if not option.planned}
    if unknown := texts.keys() - by_name.keys():
        raise ValueError(f"{scope.section}: no option {min(unknown)!r} is known")
    return {
        by_name[name]: None if text is None else _parse(scope.by_name[name], text)
        for name, text in texts.items()
    }


def _format(option: Option, value: Any) -> str | None:
    if value is None:
        return None
    if option.kind is ADDRESSES:
        return json.dumps([format_address(address) for address in value])
    return option.kind.format(value)


def _parse(option: Option, text: str) -> object:
    try:
        if option.kind is ADDRESSES:
            return tuple(parse_address(address) for address in json.loads(text))
        return option.kind.parse(text)
    except ValueError as error:
        raise ValueError(f"{option.name}: {error}") from error
