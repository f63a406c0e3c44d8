"""One `[pyfpm]` or pool on its way from entries to options, with the places to complain about."""

from dataclasses import dataclass, field
from typing import Any

from pyfpm.config.environment import Pairs, variable_name
from pyfpm.config.options import Scope
from pyfpm.config.source import Entry, Section
from pyfpm.errors import Problem


@dataclass(slots=True)
class Draft:
    """What one section says, option by option.

    `pool` is the pool's name, None for `[pyfpm]`. `entries` are by option name, the variables of
    `env[NAME]` apart in `variables`, by key. `failed` names the options whose text was refused, so
    that rules about them are not asked.
    """

    scope: Scope
    header: Section
    pool: str | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    variables: dict[str, Entry] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def problem(self, option: str, message: str) -> Problem:
        """A problem at the entry that set the option, else at the section's header."""
        if option in self.entries:
            return self.entries[option].problem(message)
        return self.header.problem(message, option)

    def variable_settings(self) -> dict[str, tuple[str, Entry]]:
        """The environment of the pool with the entry that set each variable.

        A pool's own entries win over those of `[pool-defaults]`, then `env[NAME]` over
        `environment`.
        """
        settings: list[tuple[Entry, Pairs]] = []
        if pairs := self.values.get("environment"):
            settings.append((self.entries["environment"], pairs))
        for key, entry in self.variables.items():
            if key in self.values:
                settings.append((entry, ((variable_name(key), str(self.values[key])),)))
        settings.sort(key=lambda setting: setting[0].section == self.header.name)
        return {name: (value, entry) for entry, pairs in settings for name, value in pairs}
