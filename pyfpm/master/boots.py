"""Who hears how the boots of a pool end, depending on which generation it was."""

import math
from typing import TYPE_CHECKING

from pyfpm.config import PoolOptions
from pyfpm.master.blame import name_limit

if TYPE_CHECKING:
    from pyfpm.master.pool import Pool


class PoolBoots:
    """Tells the boots of a pool's generations apart.

    Those of the current one are the pool's health; those on trial, and those of a generation that
    still takes over from another, are the reload's affair (`on_boot_failed`). Of the older ones
    nobody expects anything any more.
    """

    def __init__(self, pool: "Pool", number: int, options: PoolOptions) -> None:
        self._pool = pool
        self._number = number
        self._options = options

    @property
    def _is_current(self) -> bool:
        return self._pool.generation.number == self._number

    @property
    def is_ending(self) -> bool:
        """Nothing is started any more."""
        return self._pool.health.is_ending

    @property
    def retry_s(self) -> float:
        """Before this time (monotonic) nothing is started, because a boot has failed."""
        return self._pool.health.retry_s if self._is_current else -math.inf

    def boot_failed(self, text: str, started_s: float, *, was_ready: bool = False) -> None:
        """See Health.boot_failed."""
        pool = self._pool
        text = name_limit(text, self._options)
        trial = pool.generations.trial
        # While a new generation is on trial, the boots of the current one are no affair of its: a
        # degraded pool goes on trying, and its old mistake must not fail the new code.
        of_reload = self._is_current if trial is None else trial.number == self._number
        if pool.on_boot_failed is not None and of_reload:
            pool.on_boot_failed(text)
        elif self._is_current:
            pool.health.boot_failed(text, started_s, was_ready=was_ready)

    def booted(self) -> None:
        """A worker, or a zygote that imported the application, is ready."""
        if self._is_current:
            self._pool.health.booted()
            if self._pool.has_serving:  # its boots failed while its workers served on
                self._pool.health.serves()

    def serves(self) -> None:
        """A worker is ready."""
        if self._is_current:
            self._pool.health.serves()
