"""The arguments of a control command, taken out one by one and checked.

The master may run as root and its clients need not: a wrong type, a missing argument and one that
nobody asked for are refused (exit code 64), not guessed at or ignored.
"""

import difflib
from collections.abc import Collection, Mapping

from pyfpm.control import ExitCode
from pyfpm.errors import ControlError


class Arguments:
    """What a client sent with a command; take what is expected, then call `end`."""

    def __init__(self, given: Mapping[str, object]) -> None:
        self._left = dict(given)

    def flag(self, name: str) -> bool:
        """A boolean, False where it is not given."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise _wrong(name, "true or false")
        return value

    def text(self, name: str) -> str:
        """A string that has to be given."""
        value = self._left.pop(name, None)
        if not isinstance(value, str) or not value:
            raise _wrong(name, "a string")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, None where it is not given or null."""
        return None if self._is_absent(name) else self.text(name)

    def number(self, name: str) -> int:
        """A whole number from 1 on that has to be given."""
        value = self._left.pop(name, None)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _wrong(name, "a whole number from 1 on")
        return value

    def optional_number(self, name: str) -> int | None:
        """A whole number from 1 on, None where it is not given or null."""
        return None if self._is_absent(name) else self.number(name)

    def names(self, name: str) -> tuple[str, ...]:
        """A list of different strings, empty where it is not given."""
        value = self._left.pop(name, [])
        if not isinstance(value, list):
            raise _wrong(name, "a list of names")
        found = tuple(item for item in value if isinstance(item, str) and item)
        if len(found) != len(value):
            raise _wrong(name, "a list of names")
        if doubled := next((item for item in found if found.count(item) > 1), None):
            raise ControlError(f"{name}: {doubled!r} is given twice", ExitCode.USAGE)
        return found

    def end(self) -> None:
        """Refuse what is left over."""
        if self._left:
            raise ControlError(
                f"no argument {', '.join(map(repr, sorted(self._left)))} is expected",
                ExitCode.USAGE,
            )

    def _is_absent(self, name: str) -> bool:
        if self._left.get(name) is not None:
            return False
        self._left.pop(name, None)
        return True


def check_pools(names: Collection[str], known: Collection[str]) -> None:
    """ControlError for those of `names` that are no pools, with the pools that there are."""
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if not unknown:
        return
    close = [match for name in unknown for match in difflib.get_close_matches(name, known, 1)]
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    there_are = f"there are: {', '.join(known)}" if known else "there is none"
    raise ControlError(
        f"no pool {', '.join(map(repr, unknown))}; {there_are}{hint}", ExitCode.USAGE
    )


def check_running(names: Collection[str], stopped: Collection[str]) -> None:
    """ControlError for the first of `names` that is stopped, with what to do about it."""
    for name in names:
        if name in stopped:
            raise ControlError(
                f"pool {name} is stopped: `pyfpm start-pool {name}` starts it, with what is"
                " configured by then"
            )


def _wrong(name: str, expected: str) -> ControlError:
    return ControlError(f"argument {name!r}: expected {expected}", ExitCode.USAGE)
