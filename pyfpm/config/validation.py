"""Text to values: a configspec generated from the option table, run by ConfigObj's validator.

What the validator is given is not the text but the whole Entry, so that a check knows the file and
folder that the text stands in.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from configobj import ConfigObj, flatten_errors
from configobj.validate import ValidateError, Validator

from pyfpm.config.draft import Draft
from pyfpm.config.environment import is_variable_name, variable_name
from pyfpm.config.expansion import expand, variable_reference
from pyfpm.config.options import MAIN, POOL
from pyfpm.config.options.kinds import Kind
from pyfpm.config.source import Entry
from pyfpm.errors import Problem

_VARIABLE = Kind("variable", "text", lambda text: text, several_lines=True)


def validate_draft(draft: Draft, environ: Mapping[str, str]) -> tuple[list[Problem], list[Problem]]:
    """Expand and check every entry of a draft, fill its `values`; problems and notices come back.

    `values` then has every option that is built and was not refused, by name, None where nothing
    was set; and the variables of `env[NAME]`, by key.
    """
    problems: list[Problem] = []
    notices: list[Problem] = []
    entries = _expanded(draft, environ, problems) | _variables(draft, environ, problems, notices)
    given = {key: entry for key, entry in entries.items() if not _takes_back(draft, key, entry)}
    config = ConfigObj(given, configspec=_configspec(draft, given), interpolation=False)
    result = config.validate(_VALIDATOR, preserve_errors=True)
    for _, key, error in flatten_errors(config, result):
        draft.failed.add(key)
        if error is not False:
            problems.append(entries[key].problem(_complaint(draft, entries[key], str(error))))
        elif key not in draft.entries:
            wants = draft.scope.by_name[key].kind.wants
            problems.append(draft.problem(key, f"is required; write {wants}"))
    draft.values = {key: config[key] for key in config if key not in draft.failed}
    return problems, notices


def _complaint(draft: Draft, entry: Entry, error: str) -> str:
    """What is wrong with an entry; for one that is empty, that leaving it out would do."""
    option = draft.scope.option_for(entry.key)
    if entry.text or option is None or option.required or "empty" in error:
        return error
    return f"is empty; write {option.kind.wants}, or leave the key out for its default"


def _expanded(
    draft: Draft, environ: Mapping[str, str], problems: list[Problem]
) -> dict[str, Entry]:
    expanded = {}
    for key, entry in draft.entries.items():
        try:
            expanded[key] = replace(entry, text=expand(entry, environ, draft.pool).strip())
        except ValueError as error:
            draft.failed.add(key)
            problems.append(entry.problem(str(error)))
    return expanded


def _variables(
    draft: Draft, environ: Mapping[str, str], problems: list[Problem], notices: list[Problem]
) -> dict[str, Entry]:
    """The entries of `env[NAME]`, with `$OTHER` taken from the master's environment."""
    expanded = {}
    for key, entry in draft.variables.items():
        name = variable_name(key)
        if not is_variable_name(name):
            problems.append(entry.problem(f"{name!r} is no name for an environment variable"))
            continue
        reference = variable_reference(entry.text)
        if reference is not None:
            if reference not in environ:
                message = f"the environment has no {reference}; the pool gets an empty value"
                notices.append(entry.problem(message))
            expanded[key] = replace(entry, text=environ.get(reference, ""))
            continue
        try:
            expanded[key] = replace(entry, text=expand(entry, environ, draft.pool))
        except ValueError as error:
            problems.append(entry.problem(str(error)))
    return expanded


def _takes_back(draft: Draft, key: str, entry: Entry) -> bool:
    option = draft.scope.by_name.get(key)
    return option is not None and option.may_be_empty and not entry.text


def _configspec(draft: Draft, given: Iterable[str]) -> ConfigObj:
    """One line for each option that is built, and one for each variable that is given."""
    options = draft.scope.by_name
    lines = [
        f'"{option.name}" = {option.kind.name}{"" if option.required else "(default=None)"}'
        for option in options.values()
        if not option.planned
    ]
    lines += [f'"{key}" = {_VARIABLE.name}' for key in given if key not in options]
    return ConfigObj(lines, _inspec=True, interpolation=False, list_values=False)


def _check(kind: Kind) -> Callable[[Entry], object]:
    def check(entry: Entry) -> object:
        try:
            return kind.check(entry)
        except ValueError as error:
            raise ValidateError(str(error)) from None

    return check


_KINDS = {
    option.kind.name: option.kind for scope in (MAIN, POOL) for option in scope.by_name.values()
} | {_VARIABLE.name: _VARIABLE}
_VALIDATOR = Validator({name: _check(kind) for name, kind in _KINDS.items()})
