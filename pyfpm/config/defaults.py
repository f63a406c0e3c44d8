"""The defaults that depend on other values, on the file, or on the machine."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from pyfpm.config.draft import Draft
from pyfpm.config.options import MainOptions, PoolOptions
from pyfpm.config.reach import locate
from pyfpm.config.values import Sandbox
from pyfpm.control import default_path


def fill_main(draft: Draft, environ: Mapping[str, str], *, is_root: bool) -> MainOptions:
    """The options of `[pyfpm]` from its values and the defaults."""
    values = _with_plain_defaults(draft)
    values["control"] = values["control"] or default_path(environ, os.geteuid(), is_root=is_root)
    return MainOptions(**values)


def fill_pool(draft: Draft, *, cores: int, is_root: bool) -> PoolOptions:
    """The options of a pool from its values and the defaults.

    Options that are missing or were refused get a value that says nothing, so that the rules about
    all others can still be asked.
    """
    values = _with_plain_defaults(draft)
    if not is_root:
        values["chroot"] = None  # a notice says so
    root = values["chroot"] or "/"
    values["python"] = interpreter_of(values["python"] or sys.executable, root)
    values["directory"] = values["directory"] or ("/" if values["chroot"] else draft.header.folder)
    values["environment"] = tuple(
        (name, value) for name, (value, _) in draft.variable_settings().items()
    )
    if values["sandbox"] is None:
        listed = any(values[f"sandbox_{name}"] for name in ("read", "write", "execute"))
        values["sandbox"] = Sandbox.ON if listed else Sandbox.OFF
    processors = values["process_cpu_affinity"]
    _fill_manager(values, min(cores, len(processors)) if processors else cores)
    return PoolOptions(name=draft.pool or "", **values)


def interpreter_of(python: str, root: str = "/") -> str:
    """The interpreter itself, where `python` may be the folder of a venv; paths as in `root`."""
    is_venv = os.path.isdir(locate(python, root))
    return os.path.join(python, "bin", "python") if is_venv else python


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
