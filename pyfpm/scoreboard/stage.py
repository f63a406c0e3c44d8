"""The stages of a worker's life as the scoreboard shows them (DESIGN 5, CONTRACT 4)."""

from enum import Enum


class Stage(Enum):
    """What a worker is doing; the value is its letter on a status page.

    An idle worker that holds parked connections is shown as `K`; that is a matter of rendering
    and not a stage of its own.
    """

    FREE = "."
    BOOTING = "S"
    IDLE = "_"
    READING = "R"
    RUNNING = "W"
    FINISHING = "L"
    DRAINING = "G"

    @property
    def code(self) -> int:
        """The byte that stands for this stage in a slot."""
        return ord(self.value)

    @property
    def is_active(self) -> bool:
        """Whether status counts the worker among the active ones."""
        return self in _ACTIVE


_ACTIVE = frozenset({Stage.READING, Stage.RUNNING, Stage.FINISHING, Stage.DRAINING})
_BY_CODE = {stage.code: stage for stage in Stage}


def stage_of(code: int) -> Stage:
    """The stage of a slot byte; FREE for a byte that means nothing.

    A fresh slot is all zeros, and a hostile worker may write any byte.
    """
    return _BY_CODE.get(code, Stage.FREE)
