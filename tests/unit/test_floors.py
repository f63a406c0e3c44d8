"""The floors of the design, held as data: imports go down only.

Every module of the package is parsed, not imported, so that the rule holds for lines that no
other test runs, and for `TYPE_CHECKING` blocks too.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[2] / "pyfpm"

# A package or top-level module belongs to one floor and may import from every floor below it.
FLOOR_OF = {
    "errors": 0,
    "form": 0,
    "units": 0,
    "fastcgi": 1,
    "cgi": 1,
    "scoreboard": 1,
    "policy": 1,
    "observe": 1,
    "messages": 1,
    "kernel": 2,
    "runtime": 3,
    "config": 4,
    "logs": 4,
    "control": 4,
    "master": 5,
    "dashboard": 5,
    "front": 5,
    "cli": 6,
}
# The only imports within a floor.
SIDEWAYS = {
    ("cgi", "fastcgi"),
    ("policy", "scoreboard"),
    ("observe", "scoreboard"),
    ("config", "control"),  # the default of the option `control`
}
# The master and the front end start the runtime through the boot document, never by importing it.
FORBIDDEN = {("master", "runtime"), ("front", "runtime"), ("dashboard", "runtime")}
# Floors 0 to 3 run inside other people's interpreters.
HIGHEST_STANDARD_LIBRARY_FLOOR = 3
# Type checkers know this module, no interpreter has it: it stands under `TYPE_CHECKING` only.
STUBS_ONLY = {"_typeshed"}
# Floor 1 is pure: what it needs to know comes in as an argument.
NOT_ON_FLOOR_1 = {"socket", "os", "time", "logging"}
# Modules that only start something: `python -m pyfpm` stands above every floor.
ENTRY_POINTS = {"__main__": "cli"}


class Import(NamedTuple):
    """`package` of pyfpm imports the module `target`, at `place` (file:line)."""

    package: str
    target: str
    place: str


def read_imports(source: str, module: str, place: str) -> Iterator[Import]:
    """Yield every import in `source`, the relative ones resolved against `module`."""
    package = module.split(".")[1] if "." in module else "__init__"
    for node in ast.walk(ast.parse(source)):
        where = f"{place}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(package, alias.name, where)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                if not place.endswith("__init__.py"):
                    above = above[:-1]
                above = above[: len(above) - (node.level - 1)]
                base = ".".join([*above, base]).rstrip(".")
            for alias in node.names:
                # `from pyfpm import fastcgi` is a package, `from pyfpm.errors import X` a name.
                yield Import(package, f"{base}.{alias.name}" if base == "pyfpm" else base, where)


def read_package() -> list[Import]:
    imports = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("pyfpm", *path.relative_to(PACKAGE).with_suffix("").parts))
        module = module.removesuffix(".__init__")
        place = str(path.relative_to(PACKAGE.parent))
        imports.extend(read_imports(path.read_text(), module, place))
    return imports


def find_violation(found: Import) -> str | None:
    """Say what is wrong with an import, or None."""
    package = ENTRY_POINTS.get(found.package, found.package)
    if package != "__init__" and package not in FLOOR_OF:
        return f"pyfpm.{package} has no floor: give it one in DESIGN and here"
    if found.target.split(".")[0] == "pyfpm":
        return find_violation_inside(package, found.target)
    return find_violation_outside(package, found.target)


def find_violation_inside(package: str, imported: str) -> str | None:
    """Judge an import of something in pyfpm."""
    target = [*imported.split("."), ""][1]
    # `from pyfpm import ConfigError`: the names bound in pyfpm/__init__.py are those of errors.
    if target in {"", "__version__", package} or target[0].isupper():
        return None
    if package == "__init__":
        allowed = target in {"errors", "form"}
        return None if allowed else "pyfpm/__init__.py imports only pyfpm.errors and pyfpm.form"
    if target not in FLOOR_OF:
        return f"pyfpm.{target} has no floor"
    if (package, target) in FORBIDDEN:
        return f"pyfpm.{package} starts pyfpm.{target} and must not import it"
    floor, below = FLOOR_OF[package], FLOOR_OF[target]
    if below < floor or (package, target) in SIDEWAYS:
        return None
    return f"pyfpm.{package} (floor {floor}) imports pyfpm.{target} (floor {below})"


def find_violation_outside(package: str, imported: str) -> str | None:
    """Judge an import from the standard library or from a third party."""
    top = imported.split(".", maxsplit=1)[0]
    floor = FLOOR_OF.get(package, 0)
    known = sys.stdlib_module_names | STUBS_ONLY
    if floor <= HIGHEST_STANDARD_LIBRARY_FLOOR and top not in known:
        return f"floor {floor} is standard library only, {imported} is not"
    if floor == 1 and top in NOT_ON_FLOOR_1:
        return f"floor 1 does not use {top}"
    return None


def test_every_import_in_the_package_goes_down() -> None:
    """No module imports from its own floor or one above it, save where the table allows it."""
    violations = [
        f"{found.place}: {problem}"
        for found in read_package()
        if (problem := find_violation(found))
    ]
    assert not violations, "\n".join(violations)


def test_the_package_init_imports_nothing_but_errors_and_the_form() -> None:
    """`import pyfpm` costs nothing inside other people's interpreters."""
    imported = {found.target for found in read_package() if found.package == "__init__"}
    assert {target for target in imported if target.startswith("pyfpm")} <= {
        "pyfpm.errors",
        "pyfpm.form",
        "pyfpm.__version__",
    }


def test_every_package_has_a_floor() -> None:
    """A new package has to be placed before it is written."""
    present = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    unplaced = present - FLOOR_OF.keys() - ENTRY_POINTS.keys() - {"__init__", "__pycache__", "py"}
    assert not {name for name in unplaced if not name.startswith("py.")}


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("pyfpm.policy.decide", "import os"),
        ("pyfpm.policy.decide", "from time import monotonic"),
        ("pyfpm.policy.decide", "from pyfpm.kernel import pidfd"),
        ("pyfpm.policy.decide", "from pyfpm.observe import render"),
        ("pyfpm.policy.decide", "from ..fastcgi import records"),
        ("pyfpm.scoreboard.board", "from pyfpm.policy import Limits"),
        ("pyfpm.runtime.worker", "import click"),
        ("pyfpm.runtime.worker", "from pyfpm import config"),
        ("pyfpm.master.pool", "from pyfpm.runtime.worker import run"),
        ("pyfpm.master.pool", "import pyfpm.cli"),
        ("pyfpm.errors", "from pyfpm.units import parse_time"),
        ("pyfpm.utils", "import json"),
    ],
)
def test_an_import_that_goes_up_or_out_is_found(module: str, line: str) -> None:
    """The rule itself can fail: each of these lines breaks a floor."""
    found = list(read_imports(line, module, f"{module.replace('.', '/')}.py"))
    assert [problem for one in found if (problem := find_violation(one))]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("pyfpm.policy.decide", "from pyfpm.scoreboard import Stage"),
        ("pyfpm.policy.decide", "from .view import PoolView"),
        ("pyfpm.policy.decide", "from pyfpm.errors import PyfpmError"),
        ("pyfpm.cgi.environ", "from pyfpm.fastcgi import Params"),
        ("pyfpm.runtime.worker", "import os, socket"),
        ("pyfpm.cli.start", "from pyfpm import __version__"),
        ("pyfpm.cli.start", "import click"),
    ],
)
def test_an_import_that_goes_down_is_left_alone(module: str, line: str) -> None:
    """The rule refuses nothing that the table allows."""
    found = list(read_imports(line, module, f"{module.replace('.', '/')}.py"))
    assert not [problem for one in found if (problem := find_violation(one))]
