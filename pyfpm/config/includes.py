"""The main file and the files that its `[include]` names, read into one list of sections."""

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from pyfpm.config.expansion import expand
from pyfpm.config.reader import parse_sections, read_bytes
from pyfpm.config.source import Entry, Section
from pyfpm.errors import Problem

_EXAMPLE = "write it as files = pools.d/*.conf"


@dataclass(slots=True)
class Sources:
    """All that was read: sections in reading order without `[include]`, and the files' order."""

    sections: list[Section] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)


def read_sources(path: str, environ: Mapping[str, str], text: str | None = None) -> Sources:
    """Read `path` (or `text` in its place), then every included file in the order of its name."""
    sources = Sources()
    if text is None:
        data, sources.problems = read_bytes(path, path)
    else:
        data = text.encode(errors="surrogateescape")
    seen = {os.path.realpath(path): path}
    for include in _take(sources, path, data):
        for entry in _files_entries(include, sources):
            for file in _matches(entry, environ, sources):
                _read_included(file, entry, seen, sources)
    return sources


def _take(sources: Sources, file: str, data: bytes) -> list[Section]:
    """Add the sections of one file; the `[include]` sections are returned instead."""
    sections, problems = parse_sections(data, file)
    sources.files.append(file)
    sources.problems += problems
    sources.sections += [section for section in sections if section.name != "include"]
    return [section for section in sections if section.name == "include"]


def _files_entries(include: Section, sources: Sources) -> list[Entry]:
    for key, entry in include.entries.items():
        if key != "files":
            sources.problems.append(entry.problem(f"unknown key; {_EXAMPLE}"))
    if "files" not in include.entries:
        sources.problems.append(include.problem(f"is missing; {_EXAMPLE}", "files"))
        return []
    return [include.entries["files"]]


def _matches(entry: Entry, environ: Mapping[str, str], sources: Sources) -> list[str]:
    try:
        patterns = expand(entry, environ, None).split()
    except ValueError as error:
        sources.problems.append(entry.problem(str(error)))
        return []
    if not patterns:
        sources.problems.append(entry.problem(f"is empty; {_EXAMPLE}"))
    found = []
    for pattern in patterns:
        folder = os.path.dirname(entry.file)
        files = sorted(glob.glob(pattern, root_dir=folder or None))
        if not files:
            sources.notices.append(entry.problem(f"{pattern} matches no file"))
        found += [os.path.join(folder, file) for file in files]
    return found


def _read_included(file: str, entry: Entry, seen: dict[str, str], sources: Sources) -> None:
    first = seen.setdefault(os.path.realpath(file), file)
    if first is not file:
        sources.problems.append(
            entry.problem(f"{file} is read already as {first}; let only one pattern match it")
        )
        return
    data, problems = read_bytes(file, file, only_regular=True)
    sources.problems += problems
    for nested in _take(sources, file, data):
        sources.problems.append(
            nested.problem("an included file cannot include; name the files in the main file")
        )
