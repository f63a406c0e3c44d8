"""A copy of the package that a test may change while a master runs it."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.machine import REPOSITORY, temporary_folder


@dataclass(frozen=True)
class Installed:
    """`environ` makes a master import this copy."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder)}

    def edit(self, module: str, old: str, new: str) -> None:
        """Replace the one place of `old`, as another version of the package would have it."""
        file = self.folder / "pyfpm" / module
        text = file.read_text()
        assert text.count(old) == 1, f"{module}: {text.count(old)} places of {old!r}"
        # Another size: Python tells compiled files by the second and the size of their source.
        assert len(old) != len(new)
        file.write_text(text.replace(old, new))

    def become_version(self, version: str) -> None:
        """Be another version of pyfpm."""
        file = self.folder / "pyfpm" / "__init__.py"
        lines = file.read_text().splitlines()
        lines = [
            f'__version__ = "{version}"' if "__version__ =" in line else line for line in lines
        ]
        file.write_text("\n".join(lines) + "\n")


@contextlib.contextmanager
def installed() -> Iterator[Installed]:
    """Copy the package to a folder of its own."""
    with temporary_folder() as folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "pyfpm", folder / "pyfpm", ignore=ignored)
        yield Installed(folder)
