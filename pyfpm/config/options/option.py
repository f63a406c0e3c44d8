"""What is known of one option, and how a field of an options dataclass carries it."""

import dataclasses
import inspect
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pyfpm.config.options.kinds import TEXT, Kind

_METADATA_KEY = "option"


class Reload(Enum):
    """What a changed value asks of a reload (the smallest step that makes it effective).

    A reload gives a pool a new generation whatever has changed, since changed code cannot be seen;
    RESTART alone makes a difference to it.
    """

    MASTER = "the master applies it to itself, no worker is replaced"
    GENERATION = "the pool gets a new generation of workers"
    LISTENER = "the listener is changed or replaced, and the pool gets a new generation"
    RESTART = "only a restart of the master applies it"


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name in the file and everything that is said about it anywhere.

    `default` is the default as one would write it, None where there is none; `computed` describes
    a default that depends on other values or on the machine. A `planned` option is part of
    pyfpm's contract but not built: it is refused, and its field is always None.
    """

    name: str
    kind: Kind
    help: str
    default: str | None = None
    computed: str = ""
    required: bool = False
    aliases: tuple[str, ...] = ()
    reload: Reload = Reload.GENERATION
    since: str = "0.1.0"
    planned: bool = False

    @property
    def default_value(self) -> object:
        """The default as a value; None where there is none or it is computed."""
        return None if self.default is None else self.kind.parse(self.default)

    @property
    def may_be_empty(self) -> bool:
        """Whether `key =` without a value means the default, whatever [pool-defaults] says."""
        return self.default is None and not self.required


def option(
    name: str,
    kind: Kind,
    help: str,  # noqa: A002  (the natural name, and only ever a keyword here)
    *,
    default: str | None = None,
    computed: str = "",
    required: bool = False,
    aliases: tuple[str, ...] = (),
    reload: Reload = Reload.GENERATION,
    unset: object = dataclasses.MISSING,
) -> Any:
    """A dataclass field that carries its Option.

    `unset` is what a computed option is where nobody has computed it: among options that were
    saved by a pyfpm that did not know it yet.
    """
    described = Option(name, kind, help, default, computed, required, aliases, reload)
    metadata = {_METADATA_KEY: described}
    if required or computed:
        return dataclasses.field(default=unset, metadata=metadata)
    return dataclasses.field(default=described.default_value, metadata=metadata)


def planned(name: str, help: str) -> Any:  # noqa: A002  (as above)
    """A field for an option of the contract that is not built yet: always None."""
    described = Option(name, TEXT, help, planned=True)
    return dataclasses.field(
        default=None, init=False, repr=False, metadata={_METADATA_KEY: described}
    )


def options_of(group: type) -> dict[str, Option]:
    """The options that a dataclass declares itself, by field name, in the order written."""
    own = inspect.get_annotations(group)
    return {
        field.name: field.metadata[_METADATA_KEY]
        for field in dataclasses.fields(group)
        if field.name in own and _METADATA_KEY in field.metadata
    }
