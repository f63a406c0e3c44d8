"""The table of all options, read off the dataclasses that declare them."""

import re
from dataclasses import dataclass
from functools import cached_property

from pyfpm.config.options.main import MainOptions
from pyfpm.config.options.option import Option, options_of
from pyfpm.config.options.pool import POOL_GROUPS

_BRACKETED = re.compile(r"([^\[]+)\[.+\]")


@dataclass(frozen=True, slots=True)
class Group:
    """Options that belong together, by field name, in the contract's order."""

    title: str
    options: dict[str, Option]


MAIN_GROUPS = (Group(MainOptions.TITLE, options_of(MainOptions)),)
POOL_OPTION_GROUPS = tuple(Group(group.TITLE, options_of(group)) for group in POOL_GROUPS)


@dataclass(frozen=True)
class Scope:
    """The options that one kind of section may hold; `section` is how a header is written."""

    section: str
    groups: tuple[Group, ...]

    @cached_property
    def by_field(self) -> dict[str, Option]:
        """Every option by the name of its dataclass field."""
        return {name: option for group in self.groups for name, option in group.options.items()}

    @cached_property
    def by_name(self) -> dict[str, Option]:
        """Every option by its name in a file."""
        return {option.name: option for option in self.by_field.values()}

    @cached_property
    def by_any_name(self) -> dict[str, Option]:
        """Every option by its name and by its aliases."""
        aliases = ((alias, option) for option in self.by_name.values() for alias in option.aliases)
        return self.by_name | dict(aliases)

    def option_for(self, key: str) -> Option | None:
        """The option that a key sets: by its name, an alias, or a pattern such as env[NAME]."""
        if key in self.by_any_name:
            return self.by_any_name[key]
        bracketed = _BRACKETED.fullmatch(key)
        return self.by_any_name.get(f"{bracketed[1]}[NAME]") if bracketed else None


MAIN = Scope("[pyfpm]", MAIN_GROUPS)
POOL = Scope("[pool:NAME]", POOL_OPTION_GROUPS)


def find_option(name: str) -> tuple[tuple[Scope, Option], ...]:
    """The options of this name or alias with their scopes; a few names exist in both."""
    found = ((scope, scope.option_for(name)) for scope in (MAIN, POOL))
    return tuple((scope, option) for scope, option in found if option is not None)
