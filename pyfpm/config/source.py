"""What was read from the files, before it means anything: sections of text with their places."""

import os
from dataclasses import dataclass, field

from pyfpm.errors import Problem


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key = value`, where it stands, and the section it stands in.

    `file` is the path as the operator would name it, `key` is lower case except for what stands in
    brackets, `text` has its comments cut and its continuation lines joined by newlines.
    """

    section: str
    key: str
    text: str
    file: str
    line: int

    @property
    def origin(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"

    @property
    def folder(self) -> str:
        """The absolute folder of the file: what relative paths and `%(here)s` start from."""
        return os.path.dirname(os.path.abspath(self.file))

    def problem(self, message: str) -> Problem:
        """A problem with this entry."""
        return Problem(self.file, self.line, self.section, self.key, message)


@dataclass(slots=True)
class Section:
    """One `[name]` header and the entries below it, in the order of the file."""

    name: str
    file: str
    line: int
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """`file:line` of the header."""
        return f"{self.file}:{self.line}"

    @property
    def folder(self) -> str:
        """The absolute folder of the file."""
        return os.path.dirname(os.path.abspath(self.file))

    def problem(self, message: str, key: str = "") -> Problem:
        """A problem with the section as a whole, or with a key that is missing from it."""
        return Problem(self.file, self.line, self.name, key, message)
