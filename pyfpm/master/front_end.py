"""The HTTP front end of `pyfpm run`, which the master minds without knowing what it is."""

from typing import Protocol


class FrontProcess(Protocol):
    """The embedded HTTP front end of `pyfpm run`, as far as the master minds it."""

    @property
    def pid(self) -> int:
        """Its process, a child of this one."""
        ...

    def ready(self) -> None:
        """Called when the pool serves."""
        ...
