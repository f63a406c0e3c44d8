"""What an input may cost: processor time, waiting, and memory."""

import contextlib
import resource
import signal
from collections.abc import Callable, Iterator

MOST_CPU_S = 5.0
MOST_WAIT_S = 60.0  # whatever blocks; far more than a machine under load takes for an input
MOST_GROWTH_BYTES = 96 << 20
_MOST_ADDRESS_BYTES = 4 << 30


class HangError(BaseException):
    """An input took too long; no `except Exception` in the product hides it."""


class MemoryGrowthError(Exception):
    """The process grew beyond what inputs of this size can explain."""


class Watch:
    """Runs inputs within bounds. Only one in a process: it owns two timers."""

    def __init__(self, run: Callable[[bytes], None], *, most_cpu_s: float = MOST_CPU_S) -> None:
        self._run = run
        self._most_cpu_s = most_cpu_s
        self._peak = 0

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """From here on a hang raises HangError; allocations beyond all measure fail."""
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_ADDRESS_BYTES, hard))
        before = {
            number: signal.signal(number, _interrupt)
            for number in (signal.SIGVTALRM, signal.SIGALRM)
        }
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def settle(self) -> None:
        """What the process needs so far is what it needs."""
        self._peak = _peak_bytes()

    def __call__(self, data: bytes) -> None:
        """Run one input; raises what it lets out, HangError or MemoryGrowthError."""
        signal.setitimer(signal.ITIMER_VIRTUAL, self._most_cpu_s)
        signal.setitimer(signal.ITIMER_REAL, MOST_WAIT_S)
        self._run(data)
        if self._peak and _peak_bytes() > self._peak + MOST_GROWTH_BYTES:
            grown = (_peak_bytes() - self._peak) >> 20
            self.settle()
            raise MemoryGrowthError(f"{grown} MiB more than before")


def _interrupt(number: int, _: object) -> None:
    raise HangError("worked" if number == signal.SIGVTALRM else "waited", "too long")


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
