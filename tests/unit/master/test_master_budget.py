"""What a process may cost its master: tokens, and the flow of output that is paid with them."""

import pytest

from pyfpm.logs import Log
from pyfpm.master.budget import Budget
from pyfpm.master.flow import BYTES_PER_S, LINE_BYTES, PATIENCE_S, SAY_EVERY_S, Flow


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def flow(clock):
    return Flow(Log("shop"), clock)


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


def test_burst_waits_and_is_not_dropped(flow, clock):
    """For as long as PATIENCE_S a pool that prints too much is only slowed down."""
    assert flow.is_open
    flow.spend(10 * BYTES_PER_S)
    assert not flow.is_open
    clock.now_s += PATIENCE_S / 2
    assert not flow.is_open
    assert not flow.is_flooded
    clock.now_s += 10
    assert flow.is_open


def print_for(flow, clock, seconds):
    """Print without end, as a pipe reads it; how many lines were written and dropped."""
    written = dropped = 0
    for _ in range(int(seconds / 0.01)):
        clock.now_s += 0.01
        while flow.is_open:
            flow.spend(100)
            written += 1
        if flow.is_flooded:
            flow.drop(1000 * 100, 1000)
            dropped += 1000
    return written, dropped


def test_flood_is_thinned_out_to_the_rate(flow, clock):
    """What fits is written all the time; the rest is dropped once the patience is over."""
    per_s = BYTES_PER_S / (100 + LINE_BYTES)
    _, dropped = print_for(flow, clock, PATIENCE_S - 1)
    assert not dropped
    written, dropped = print_for(flow, clock, 100)
    assert 0.9 * 100 * per_s < written < 1.1 * 100 * per_s
    assert dropped > 1000


def test_flood_that_is_over_is_forgotten(flow, clock):
    """The next burst is waited for again."""
    print_for(flow, clock, 10)
    clock.now_s += 5
    assert flow.is_open
    assert not flow.is_flooded
    flow.spend(2 * BYTES_PER_S)
    assert not flow.is_open
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
