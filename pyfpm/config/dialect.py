"""The pre-pass: supervisor's INI dialect, line by line, as ConfigObj reads it exactly.

ConfigObj knows neither `;` comments nor continuation lines nor `key: value`, cuts values at `#`
and takes quotes and commas apart. So each line is rewritten before ConfigObj sees it, and line N
of the output always stands for line N of the file, which keeps ConfigObj's line numbers true:

* a comment, whole or at the end of a line, goes (the rule is configparser's: `;` or `#` first in
  the line or after white space, quotes or no quotes);
* a header becomes `["name"]`;
* a key becomes `"key" = \"\"\"value\"\"\"`, since nothing is special between triple quotes. Lines
  indented deeper than their key continue its value; comments among them vanish, and empty lines
  after the value make up for the number;
* a name that cannot be quoted, or that stands there twice, gets a private name instead. NUL bytes
  were refused before, so a private name clashes with nothing;
* anything else passes as it is, and ConfigObj complains about it.
"""

import re
from dataclasses import dataclass, field

from pyfpm.config.source import Entry, Section
from pyfpm.errors import Problem

_COMMENT = re.compile(r"(?:^|(?<=\s))[;#]")
_DIVIDER = re.compile(r"[=:]")


@dataclass(frozen=True, slots=True)
class KeyMark:
    """Where ConfigObj will hold a key (`private`), and what the file calls it."""

    private: str
    key: str
    line: int


@dataclass(slots=True)
class SectionMark:
    """Where ConfigObj will hold a section (`private`), and what the file calls it."""

    private: str
    name: str
    line: int
    keys: list[KeyMark] = field(default_factory=list)


@dataclass(slots=True)
class _OpenKey:
    """A key whose value may still go on."""

    section: SectionMark
    key: str
    line: int
    column: int
    values: list[str]


class Rewriter:
    """One file's pre-pass: feed it with `rewrite`, then read `lines`, `sections`, `problems`."""

    def __init__(self, file: str) -> None:
        self.lines: list[str] = []
        self.sections: list[SectionMark] = []
        self.problems: list[Problem] = []
        self._file = file
        self._section: SectionMark | None = None
        self._open: _OpenKey | None = None
        self._lost = False

    def rewrite(self, lines: list[str]) -> None:
        """Rewrite a whole file; `lines` have no line ends."""
        for number, line in enumerate(lines, start=1):
            self._rewrite_line(number, line)
        self._close(len(lines))

    def _rewrite_line(self, number: int, line: str) -> None:
        comment = _COMMENT.search(line)
        content = (line[: comment.start()] if comment else line).strip()
        if not content:
            if self._open and not comment:
                self._open.values.append("")
            return
        column = len(line) - len(line.lstrip())
        if self._open and column > self._open.column:
            self._open.values.append(content)
            return
        self._close(number - 1)
        if content.startswith("["):
            self._header(number, content)
        else:
            self._key_or_junk(number, column, content)

    def _header(self, number: int, content: str) -> None:
        name, bracket, rest = content[1:].rpartition("]")
        if bracket and rest:
            self._complain(number, name, f"{rest.strip()!r} after the ] would be lost; remove it")
        if not name:
            self._complain(number, "", f"{content!r} is not a section; write it as [pool:shop]")
            self._section, self._lost = None, True
            return
        private = self._private(name, [mark.private for mark in self.sections])
        self._section, self._lost = SectionMark(private, name, number), False
        self.sections.append(self._section)
        self._emit(number, f'["{private}"]')

    def _key_or_junk(self, number: int, column: int, content: str) -> None:
        divider = _DIVIDER.search(content)
        if self._lost:
            return  # below a broken header nobody can tell what a line belongs to
        if divider is None:
            self._emit(number, content)
            return
        name, bracket, bracketed = content[: divider.start()].strip().partition("[")
        key = f"{name.lower()}{bracket}{bracketed}"
        if not key:
            self._complain(number, "", f"{content!r} has no key; write it as key = value")
        elif self._section is None:
            remedy = "begin with [pyfpm] or [pool:NAME]"
            if key == "include":
                remedy = "write [include], and below it files = pools.d/*.conf"
            self._complain(number, "", f"{key} stands before any section; {remedy}")
        else:
            value = content[divider.end() :].strip()
            self._open = _OpenKey(self._section, key, number, column, [value])

    def _close(self, last_line: int) -> None:
        """Write the open key, and empty lines up to `last_line`."""
        if self._open is not None:
            self._write_key(self._open)
            self._open = None
        self._pad(last_line)

    def _write_key(self, opened: _OpenKey) -> None:
        value = "\n".join(opened.values).strip()
        quotes = "'''" if '"""' in value else '"""'
        if quotes in value:
            message = "a value cannot hold both \"\"\" and '''; take one of them out"
            self._complain(opened.line, opened.section.name, message, opened.key)
            return
        private = self._private(opened.key, [mark.private for mark in opened.section.keys])
        opened.section.keys.append(KeyMark(private, opened.key, opened.line))
        self._emit(opened.line, f'"{private}" = {quotes}{value}{quotes}')

    def _emit(self, number: int, text: str) -> None:
        self._pad(number - 1)
        self.lines.extend(text.split("\n"))

    def _pad(self, length: int) -> None:
        self.lines.extend([""] * (length - len(self.lines)))

    def _private(self, name: str, taken: list[str]) -> str:
        quotable = '"' not in name and name.strip()
        return name if quotable and name not in taken else f"\0{len(taken)}"

    def _complain(self, line: int, section: str, message: str, key: str = "") -> None:
        self.problems.append(Problem(self._file, line, section, key, message))


def fold(rewriter: Rewriter, texts: dict[str, dict[str, str]], file: str) -> list[Section]:
    """The sections of a file from what ConfigObj read (`texts`), with names and lines restored.

    A key that stands twice is a problem, except for `key[]`, whose lines add up.
    """
    sections = []
    for mark in rewriter.sections:
        section = Section(mark.name, file, mark.line)
        sections.append(section)
        for key in mark.keys:
            text = texts[mark.private][key.private]
            entry = Entry(mark.name, key.key, text, file, key.line)
            first = section.entries.setdefault(key.key, entry)
            if first is not entry and key.key.endswith("[]"):
                joined = f"{first.text}\n{text}"
                section.entries[key.key] = Entry(mark.name, key.key, joined, file, first.line)
            elif first is not entry:
                message = f"is set twice, first at {first.origin}; leave one of them out"
                rewriter.problems.append(entry.problem(message))
    return sections
