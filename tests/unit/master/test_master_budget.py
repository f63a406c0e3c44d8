"""What a process may cost its master: tokens, and the flow of output that is paid with them."""

import pytest

from pyfpm.logs import Log
from pyfpm.master.budget import Budget
from pyfpm.master.flow import (
    ALL_BURST_BYTES,
    ALL_BYTES_PER_S,
    BYTES_PER_S,
    FINAL_BYTES,
    LINE_BYTES,
    PATIENCE_S,
    SAY_EVERY_S,
    Flow,
)
from pyfpm.master.turns import Turns


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


class Pipe:
    """Takes its turn by spending `cost`, again and again."""

    def __init__(self, flow, cost):
        self.flow, self.cost, self.turns = flow, cost, 0

    def take_turn(self):
        self.turns += 1
        self.flow.spend(self.cost)
        self.flow.share.wait(self)


class Loop:
    """Calls what was planned as time passes."""

    def __init__(self, clock):
        self.clock, self.planned = clock, []

    def later(self, delay_s, call):
        self.planned.append((self.clock.now_s + delay_s, call))

    def pass_time(self, seconds):
        end_s = self.clock.now_s + seconds
        while self.planned and min(self.planned)[0] <= end_s:
            at_s, call = self.planned.pop(0)
            self.clock.now_s = at_s
            call()
        self.clock.now_s = end_s


@pytest.fixture
def loop(clock):
    return Loop(clock)


@pytest.fixture
def flow(clock, loop):
    turns = Turns(ALL_BYTES_PER_S, ALL_BURST_BYTES, clock, loop.later)
    return Flow(Log("shop"), turns.join(BYTES_PER_S), clock)


def test_budget_allows_a_burst_and_then_its_rate(clock):
    """Five at once, then two a second, and never more than five saved up."""
    budget = Budget(2, 5, clock)
    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]
    clock.now_s += 1
    assert [budget.take() for _ in range(3)] == [True, True, False]
    clock.now_s += 3600
    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]


def test_what_costs_more_than_is_left_is_paid_for_afterwards(clock):
    """Nothing is refused for its size alone, but everybody waits for it."""
    budget = Budget(1, 5, clock)
    assert budget.take(15)
    clock.now_s += 9
    assert not budget.take()
    clock.now_s += 2
    assert budget.take()


def test_clock_that_stands_still_gives_nothing(clock):
    """A budget is time, however often somebody asks."""
    budget = Budget(1e9, 1, clock)
    assert budget.take()
    assert not any(budget.take() for _ in range(100))


def test_budget_that_is_used_up_can_be_spent_further(clock):
    """What is done must be paid for, or a bite that begins with a little would be free."""
    budget = Budget(1, 5, clock)
    for _ in range(3):
        budget.pay(5)
    clock.now_s += 9
    assert budget.left < 0
    clock.now_s += 2
    assert budget.left > 0


def test_every_line_of_a_bite_is_paid_for(flow, clock):
    """Also those after the one that used the budget up."""
    for _ in range(1000):
        flow.spend(100 * LINE_BYTES)
    clock.now_s += 1000 * 100 * LINE_BYTES / BYTES_PER_S - 2
    assert not flow.is_open
    clock.now_s += 2
    assert flow.is_open


def test_burst_waits_and_is_not_dropped(flow, loop):
    """For as long as PATIENCE_S a pool that prints too much is only slowed down."""
    flow.spend(10 * BYTES_PER_S)
    assert not flow.share.is_open
    flow.share.wait(Pipe(flow, 1))
    loop.pass_time(PATIENCE_S / 2)
    assert not flow.is_flooded
    loop.pass_time(PATIENCE_S)
    assert flow.is_flooded


def test_pool_that_waits_now_and_then_is_not_flooded(flow, loop, clock):
    """However long that goes on: everything was written in the end."""

    class Once(Pipe):
        def take_turn(self):
            self.turns += 1

    flow.spend(BYTES_PER_S)
    for _ in range(20):
        flow.spend(0.9 * BYTES_PER_S)
        one = Once(flow, 1)
        flow.share.wait(one)
        loop.pass_time(1)
        assert one.turns
        assert not flow.is_flooded


def test_flood_goes_on_being_one_until_there_is_plenty_again(flow, clock):
    """Pipes that were emptied are filled at once, and nobody shall wait for PATIENCE_S again."""
    flow.spend(1.5 * BYTES_PER_S)
    flow.drop(1000)
    assert flow.is_flooded
    clock.now_s += 0.3
    assert flow.is_flooded
    clock.now_s += 0.8
    assert not flow.is_flooded


def test_drops_are_said_once_in_a_while(flow, clock, caplog):
    """One line for all of them, with their number; silence where nothing was dropped."""
    flow.tell()
    for _ in range(int(2 * SAY_EVERY_S)):
        flow.drop(1000, 10)
        flow.tell()
        clock.now_s += 1
    clock.now_s += SAY_EVERY_S
    flow.tell()
    flow.tell()
    counts = [int(message.partition(" ")[0]) for message in caplog.messages]
    assert len(counts) == 3
    assert sum(counts) == 10 * int(2 * SAY_EVERY_S)


class Ended:
    """Last words; of each byte that it may not write it says that it was dropped."""

    def __init__(self, flow, stream, size_bytes):
        self.flow, self.stream, self.size_bytes, self.written = flow, stream, size_bytes, 0
        assert flow.keep(self)

    def end_now(self, most_bytes):
        self.flow.forget(self)
        self.written = min(self.size_bytes, most_bytes)
        self.flow.drop(self.size_bytes - self.written, 1)
        return self.written


def test_last_words_are_written_at_the_end_and_what_is_too_much_is_said(flow, caplog):
    """Whatever is left of the budget; tracebacks go to stderr, and each process has its part."""
    flow.spend(100 * BYTES_PER_S)
    prints = [Ended(flow, "stdout", FINAL_BYTES) for _ in range(2)]
    traces = [Ended(flow, "stderr", FINAL_BYTES // 8) for _ in range(4)]
    flow.finish()
    assert [one.written for one in traces] == [FINAL_BYTES // 8] * 4
    assert [one.written for one in prints] == [FINAL_BYTES // 4] * 2
    assert flow.last_words == 0
    assert f"({3 * FINAL_BYTES // 2} bytes) of output dropped" in caplog.messages[-1]


def test_hundreds_of_bytes_of_last_words_have_an_end(flow):
    """However many have ended: a pool that stops does not hold up the others."""
    found = [Ended(flow, "stderr", FINAL_BYTES) for _ in range(64)]
    flow.finish()
    assert sum(one.written for one in found) <= FINAL_BYTES
    assert min(one.written for one in found) >= FINAL_BYTES // 64
