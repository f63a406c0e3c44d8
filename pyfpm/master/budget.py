"""What one process or one pool may cost the master: tokens that come back with time."""

import time
from collections.abc import Callable


class Budget:
    """Up to `burst` at once, and `per_s` a second in the long run."""

    def __init__(
        self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._at_s = clock()

    @property
    def left(self) -> float:
        """What may be spent now; negative after something dear."""
        now_s = self._clock()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return self._left

    def take(self, cost: float = 1.0) -> bool:
        """Spend `cost`, if anything at all is left; a dear thing is paid for afterwards."""
        if self.left <= 0:
            return False
        self._left -= cost
        return True

    def pay(self, cost: float) -> None:
        """Spend `cost`, whatever is left: it is done already."""
        self._left = self.left - cost
