"""Which sections there may be, and which option each of their keys sets."""

import difflib
import re
from collections.abc import Iterable

from pyfpm.config.draft import Draft
from pyfpm.config.options import MAIN, POOL, Option, Scope
from pyfpm.config.source import Entry, Section
from pyfpm.errors import Problem

DEFAULTS = "pool-defaults"
_PREFIX = "pool:"
_POOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SUPERVISOR = re.compile(
    r"(program|fcgi-program|group|rpcinterface|ctlplugin):.*"
    r"|supervisord|supervisorctl|(unix|inet)_http_server(:.*)?"
)
# What the sections of related programs are called here.
_EQUIVALENTS = {"global": "pyfpm", "DEFAULT": DEFAULTS}


def draft_sections(
    path: str, sections: list[Section], problems: list[Problem]
) -> tuple[Draft, list[Draft]]:
    """The main draft and one draft for each pool, in file order, `[pool-defaults]` merged in.

    `path` is the main file, which a missing [pyfpm] counts as part of.
    """
    main = Draft(MAIN, Section("pyfpm", path, 1))
    defaults = Section(DEFAULTS, path, 1)
    pools: list[Draft] = []
    for section in _once_each(sections, problems):
        if section.name == "pyfpm":
            main = Draft(MAIN, section)
        elif section.name == DEFAULTS:
            defaults = section
        elif section.name.startswith(_PREFIX):
            pools.append(_pool(section, problems))
        else:
            problems.append(section.problem(_refusal(section.name)))
    _take_entries(main, main.header.entries.values(), problems)
    for pool in pools:
        _take_entries(pool, defaults.entries.values(), problems)
        _take_entries(pool, pool.header.entries.values(), problems)
    return main, pools


def _once_each(sections: list[Section], problems: list[Problem]) -> list[Section]:
    first: dict[str, Section] = {}
    for section in sections:
        seen = first.setdefault(section.name, section)
        if seen is not section:
            message = f"stands twice, first at {seen.origin}; rename it or leave one of them out"
            problems.append(section.problem(message))
    return list(first.values())


def _pool(section: Section, problems: list[Problem]) -> Draft:
    name = section.name.removeprefix(_PREFIX)
    if not _POOL_NAME.fullmatch(name):
        message = (
            f"{name!r} is not a pool's name: at most 63 letters, digits and _ . -,"
            " the first a letter or digit"
        )
        problems.append(section.problem(message))
    return Draft(POOL, section, pool=name)


def _refusal(name: str) -> str:
    if name.startswith("eventlistener:"):
        return (
            "pyfpm has no events to listen to and will have none; let supervisor run this section"
        )
    if _SUPERVISOR.fullmatch(name):
        return "supervisor's sections are not supported yet; remove it"
    lower, _, pool = name.partition(":")
    known = ["pyfpm", DEFAULTS, "include", f"pool:{pool or 'NAME'}"]
    wanted = f"{lower.lower()}:{pool}" if pool else lower.lower()
    if wanted == "pool":
        wanted = "pool:NAME"
    close = difflib.get_close_matches(wanted, known, 1, 0.7)
    guess = _EQUIVALENTS.get(name) or (close[0] if close else f"pool:{name}")
    return (
        f"unknown section, did you mean [{guess}]?"
        " There are [pyfpm], [pool-defaults], [pool:NAME] and [include]"
    )


def _take_entries(draft: Draft, entries: Iterable[Entry], problems: list[Problem]) -> None:
    """Sort entries into a draft; those that come later replace those that came before."""
    taken: dict[str, Entry] = {}
    for entry in entries:
        option = draft.scope.option_for(entry.key)
        if option is None:
            problems.append(entry.problem(_unknown(entry.key, draft.scope)))
        elif option.planned:
            problems.append(entry.problem("not supported yet; remove it"))
        elif entry.key not in (option.name, *option.aliases) or entry.key == "env[NAME]":
            draft.variables[entry.key] = entry
        elif option.name in taken:
            problems.append(entry.problem(_same_option(option, taken[option.name])))
        else:
            taken[option.name] = draft.entries[option.name] = entry


def _same_option(option: Option, first: Entry) -> str:
    return (
        f"is another name of {option.name} and set already at {first.origin}; leave one of them out"
    )


def _unknown(key: str, scope: Scope) -> str:
    other = POOL if scope is MAIN else MAIN
    option = other.option_for(key)
    if option is not None and option.planned:
        return "not supported yet; remove it"
    if option is not None:
        return f"stands in the wrong section; it belongs in {other.section}"
    if key == "include":
        return "is a section here; write [include], and below it files = pools.d/*.conf"
    begun = [name for name in scope.by_any_name if name.startswith(key)]
    close = difflib.get_close_matches(key, scope.by_any_name, 1) or begun
    if close:
        return f"unknown key, did you mean {close[0]}?"
    return "unknown key; `pyfpm options` lists the keys that there are"
