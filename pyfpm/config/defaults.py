"""The defaults that depend on other values, on the file, or on the machine."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from pyfpm.config.draft import Draft
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.control import default_path


def fill_main(draft: Draft, environ: Mapping[str, str], *, is_root: bool) -> MainOptions:
    """The options of `[pyfpm]` from its values and the defaults."""
    values = _with_plain_defaults(draft)
    values["control"] = values["control"] or default_path(environ, os.geteuid(), is_root=is_root)
    return MainOptions(**values)


def fill_pool(draft: Draft, *, cores: int) -> PoolOptions:
    """The options of a pool from its values and the defaults.

    Options that are missing or were refused get a value that says nothing, so that the rules about
    all others can still be asked.
    """
    values = _with_plain_defaults(draft)
    values["python"] = interpreter_of(values["python"] or sys.executable)
    values["directory"] = values["directory"] or draft.header.folder
    values["environment"] = tuple(
        (name, value) for name, (value, _) in draft.variable_settings().items()
    )
    _fill_manager(values, cores)
    return PoolOptions(name=draft.pool or "", **values)


def interpreter_of(python: str) -> str:
    """The interpreter itself, where `python` may be the folder of a venv."""
    return os.path.join(python, "bin", "python") if os.path.isdir(python) else python


def _with_plain_defaults(draft: Draft) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, option in draft.scope.by_field.items():
        if not option.planned:
            value = draft.values.get(option.name)
            values[field] = option.default_value if value is None else value
    return values


def _fill_manager(values: dict[str, Any], cores: int) -> None:
    most = values["pm_max_children"] or max(2, 2 * cores)
    least_spare = values["pm_min_spare_servers"] or max(1, most // 4)
    most_spare = values["pm_max_spare_servers"] or max(least_spare, most // 2)
    start = values["pm_start_servers"] or least_spare + (most_spare - least_spare) // 2
    values |= {
        "pm_max_children": most,
        "pm_min_spare_servers": least_spare,
        "pm_max_spare_servers": most_spare,
        "pm_start_servers": start,
    }
