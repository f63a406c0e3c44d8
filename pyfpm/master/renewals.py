"""New generations that pools get without anybody asking for them.

One at a time for each pool, and none while an upgrade is under way: an upgrade waits until no
generation takes over from another, and a tenant can have its pool renewed again and again (by
shutting its hand-off channel down, or by crashes), with boots as slow as boot_timeout allows. What
runs is given up for it. That loses nothing: the upgrade gives every pool a new generation, and
where it fails, what was put off begins.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager

from pyfpm.errors import PyfpmError
from pyfpm.logs import Log


class Renewals:
    """Of one master. `renew` gives the pool of that name a new generation."""

    def __init__(self, renew: Callable[[str], Coroutine[object, object, None]]) -> None:
        self._renew = renew
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._put_off: set[str] = set()
        self._is_held = False

    def begin(self, name: str) -> None:
        """Renew a pool; nothing happens where that is on its way."""
        if self._is_held:
            self._put_off.add(name)
            return
        running = self._tasks.get(name)
        if running is None or running.cancelling():
            self._tasks[name] = asyncio.create_task(self._run(name))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Begin none within the block, and give up those that run; afterwards they begin."""
        self._is_held = True
        for name, task in self._tasks.items():
            self._put_off.add(name)
            task.cancel()
        try:
            yield
        finally:
            self._is_held = False
            while self._put_off:
                self.begin(self._put_off.pop())

    async def _run(self, name: str) -> None:
        try:
            await self._renew(name)
        except PyfpmError as error:
            Log().error("failed", str(error))
        finally:
            # One that was given up may end when the next one has begun already.
            if self._tasks.get(name) is asyncio.current_task():
                del self._tasks[name]
