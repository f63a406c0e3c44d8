"""Who is heard next, where processes say more than the master can spare the time for.

Theory of operation. Listening costs: every message, every line. Each pool has a budget, and all
pools together have one, so what floods cost depends neither on how many processes take part nor on
how many pools. As long as there is something left in both, and nobody of the pool waits, who has
something to say is heard at once. Otherwise it *waits*: it is not watched any more, so it costs
nothing, and what it says stays in its socket or pipe.

Whenever there is something left again, those who wait are heard, one bite each. Within a pool they
take turns. Among pools the next is the one that has been heard least (start-time fair queueing: a
pool's `tag` is what was spent on it while it waited, and one that comes anew begins where the one
that was heard last stands). So a pool that says little is heard after a bite or two of another,
however many flood; and those that flood get equal parts.

What was heard is paid for afterwards, and may cost more than was left: budgets go below zero. That
of all pools does so by little, or one message of one pool would silence all the others: of what is
dear, all pay a part, and its own pool the whole.
"""

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from typing import Protocol

from pyfpm.master.budget import Budget

TICK_S = 0.01
"""So often is looked who may be heard now; only while somebody waits."""

Later = Callable[[float, Callable[[], None]], object]


class Speaker(Protocol):
    """What is heard: a control socket or a pipe."""

    def take_turn(self) -> None:
        """Hear one bite, pay, and then wait again or be watched again."""
        ...


class Share:
    """What is heard of one pool."""

    def __init__(self, turns: "Turns", per_s: float, clock: Callable[[], float]) -> None:
        self.tag = 0.0
        self.paid = 0.0
        self.waiting_since_s = math.inf
        """Since when there was somebody who waited, without a pause."""
        self._turns = turns
        self._budget = Budget(per_s, per_s, clock)
        self._clock = clock
        # In turn, each with the time since when; a dict finds and forgets at once.
        self._waiting: dict[Speaker, float] = {}
        self.is_queued = False

    @property
    def is_open(self) -> bool:
        """Whether somebody of this pool may be heard now, without waiting."""
        return not self._waiting and self.has_left

    @property
    def has_left(self) -> bool:
        """Whether who is being heard may go on: there is something left, also for all pools."""
        return self._budget.left > 0 and self._turns.left > 0

    @property
    def left(self) -> float:
        """What is left of the pool's own budget; negative after something dear."""
        return self._budget.left

    @property
    def has_waiting(self) -> bool:
        """Whether somebody waits for a turn."""
        return bool(self._waiting)

    @property
    def late_s(self) -> float:
        """How long the one that comes next has been waiting."""
        since_s = next(iter(self._waiting.values()), math.inf)
        return max(0.0, self._clock() - since_s)

    def pay(self, cost: float) -> None:
        """So much was heard."""
        self.paid += cost
        self._budget.pay(cost)
        self._turns.pay(cost)

    def wait(self, speaker: Speaker) -> None:
        """Have `speaker` take its turn as soon as it comes."""
        now_s = self._clock()
        self.waiting_since_s = min(self.waiting_since_s, now_s)
        self._waiting.setdefault(speaker, now_s)
        self._turns.queue(self)

    def forget(self, speaker: Speaker) -> None:
        """It has gone, or need not wait any more."""
        self._waiting.pop(speaker, None)
        self.calm()

    def give_turn(self) -> None:
        """Let whoever has waited longest take its turn."""
        speaker = next(iter(self._waiting), None)
        if speaker is not None:
            del self._waiting[speaker]
            speaker.take_turn()
        self.calm()

    def calm(self) -> None:
        """Where nobody waits any more, forget since when."""
        if not self._waiting:
            self.waiting_since_s = math.inf


class Turns:
    """Of one master, for one kind of speech. `later` calls after so many seconds."""

    def __init__(
        self,
        per_s: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        later: Later | None = None,
    ) -> None:
        self._budget = Budget(per_s, burst, clock)
        self._dearest = burst / 4
        self._clock = clock
        self._later = later or _call_later
        self._queue: list[tuple[float, int, Share]] = []  # a heap: the lowest tag first
        self._count = 0  # tells equal tags apart, first come first
        self._paid = 0.0
        self._heard = 0.0  # the tag of the pool that was heard last
        self._planned = False

    def join(self, per_s: float) -> Share:
        """A share for a pool that may cost `per_s`, and so much at once."""
        return Share(self, per_s, self._clock)

    @property
    def left(self) -> float:
        """What is left for all pools together."""
        return self._budget.left

    def pay(self, cost: float) -> None:
        """So much was heard of some pool; what is dearer than `_dearest` costs them all no more."""
        cost = min(cost, self._dearest)
        self._paid += cost
        self._budget.pay(cost)

    def queue(self, share: Share) -> None:
        """Somebody of this pool waits."""
        if not share.is_queued:
            share.tag = max(share.tag, self._heard)
            self._push(share)
        if not self._planned:
            self._planned = True
            self._later(TICK_S, self._tick)

    def _push(self, share: Share) -> None:
        share.is_queued = True
        self._count += 1
        heapq.heappush(self._queue, (share.tag, self._count, share))

    def _tick(self) -> None:
        """Give turns until what was left is spent, or nobody is left who may be heard.

        Not what comes back meanwhile: on a machine too slow for `per_s` this would never end.
        """
        dry = []
        stop = self._paid + self._budget.left
        try:
            while self._queue and self._paid < stop:
                share = heapq.heappop(self._queue)[2]
                if share.has_waiting and share.left <= 0:
                    dry.append(share)
                else:
                    self._hear(share)
        finally:  # what one of them makes fail must not silence the others
            for share in dry:
                self._push(share)
            self._planned = bool(self._queue)
            if self._planned:
                self._later(TICK_S, self._tick)

    def _hear(self, share: Share) -> None:
        self._heard, before = share.tag, share.paid
        try:
            share.give_turn()
        finally:
            share.tag += share.paid - before
            share.is_queued = False
            if share.has_waiting:
                self._push(share)


def _call_later(delay_s: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(delay_s, call)
