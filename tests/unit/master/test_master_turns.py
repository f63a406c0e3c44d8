"""Who is heard next: what floods cost is bounded, and who says little is heard at once."""

import pytest

from pyfpm.master.turns import TICK_S, Turns

PER_S = 1000.0
POOL_PER_S = 400.0
BURST = 50.0


class Hall:
    """A clock and a timer that stand still until told to go on."""

    def __init__(self):
        self.now_s = 1000.0
        self.planned = []
        self.turns = Turns(PER_S, BURST, lambda: self.now_s, self.later)
        self.spent = 0.0

    def later(self, delay_s, call):
        self.planned.append((self.now_s + delay_s, call))

    def pass_time(self, seconds, meanwhile=lambda: None):
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            due = [call for at_s, call in self.planned if at_s <= self.now_s + 1e-9]
            self.planned = [(at_s, call) for at_s, call in self.planned if at_s > self.now_s + 1e-9]
            for call in due:
                call()
            meanwhile()

    def pool(self):
        return self.turns.join(POOL_PER_S)


class Speaker:
    """Says `left` things, each for `cost`, as fast as it is heard."""

    def __init__(self, hall, share, left, cost=1.0):
        self.hall, self.share, self.left, self.cost = hall, share, left, cost
        self.heard = 0
        self.heard_s = None

    def speak(self):
        """Be readable, as a socket is."""
        while self.left and self.share.is_open:
            self._say()
        if self.left:
            self.share.wait(self)

    def take_turn(self):
        self._say()
        if self.left:
            self.share.wait(self)

    def _say(self):
        self.left -= 1
        self.heard += 1
        self.heard_s = self.hall.now_s
        self.share.pay(self.cost)


ENDLESS = 10**9


@pytest.fixture
def hall():
    return Hall()


def crowd(hall, pools, speakers, cost=1.0):
    """So many pools in which so many processes flood without end."""
    shares = [hall.pool() for _ in range(pools)]
    found = [Speaker(hall, share, ENDLESS, cost) for share in shares for _ in range(speakers)]
    for one in found:
        one.speak()
    return found


def total(speakers):
    return sum(one.heard * one.cost for one in speakers)


def test_who_says_little_is_heard_at_once(hall):
    """Without a timer, and nothing is remembered of it."""
    one = Speaker(hall, hall.pool(), 40)
    one.speak()
    assert one.heard == 40
    assert not hall.planned


@pytest.mark.parametrize("speakers", [1, 10, 100])
def test_what_a_pool_costs_does_not_depend_on_how_many_of_it_flood(hall, speakers):
    """A hundred workers cost as much as one."""
    flood = crowd(hall, 1, speakers)
    hall.pass_time(10)
    assert total(flood) == pytest.approx(POOL_PER_S * 11, rel=0.05)


@pytest.mark.parametrize("pools", [1, 3, 10, 100])
def test_what_all_cost_does_not_depend_on_how_many_pools_flood(hall, pools):
    """They share what there is for all, and none gets more than its own."""
    flood = crowd(hall, pools, 2)
    before = total(flood)
    hall.pass_time(10)
    assert total(flood) - before <= 10 * min(PER_S, pools * POOL_PER_S) + POOL_PER_S + BURST


@pytest.mark.parametrize("cost", [1.0, 40.0])
def test_pools_that_flood_get_equal_parts(hall, cost):
    """Also where some have many processes and others one, or say dearer things."""
    many, few = hall.pool(), hall.pool()
    dear = hall.pool()
    speakers = [Speaker(hall, many, ENDLESS) for _ in range(50)]
    speakers += [Speaker(hall, few, ENDLESS), Speaker(hall, dear, ENDLESS, cost)]
    for one in speakers:
        one.speak()
    hall.pass_time(5)
    before = [share.paid for share in (many, few, dear)]
    hall.pass_time(10)
    grown = [share.paid - old for share, old in zip((many, few, dear), before, strict=True)]
    assert max(grown) - min(grown) <= 2 * cost + BURST


def test_processes_of_a_pool_that_floods_take_turns(hall):
    """An honest worker beside hostile ones is heard as often as each of them."""
    flood = crowd(hall, 1, 20)
    hall.pass_time(10)
    heard = [one.heard for one in flood[1:]]
    assert max(heard) - min(heard) <= 1


@pytest.mark.parametrize("pools", [1, 10, 100])
def test_pool_that_says_little_waits_for_a_tick_or_two_however_many_flood(hall, pools):
    """Its boot must not wait until all the others have had their turn."""
    crowd(hall, pools, 5, cost=10.0)
    hall.pass_time(10)
    honest = Speaker(hall, hall.pool(), 1)
    honest.speak()
    began_s = hall.now_s
    hall.pass_time(5 * TICK_S)
    assert honest.heard == 1
    assert honest.heard_s - began_s <= 3 * TICK_S


def test_hundred_honest_pools_that_boot_at_once_are_heard_within_a_moment(hall):
    """Eleven messages each: more than there is for all at once, so some wait for a second."""
    speakers = [Speaker(hall, hall.pool(), 11) for _ in range(100)]
    for one in speakers:
        one.speak()
    hall.pass_time(1.2)
    assert not any(one.left for one in speakers)


def test_debt_is_paid_before_the_pool_is_heard_again(hall):
    """One dear thing is heard, and then nothing for as long as it cost."""
    share = hall.pool()
    one = Speaker(hall, share, 2, cost=3 * POOL_PER_S)
    one.speak()
    assert one.heard == 1
    hall.pass_time(1.9)
    assert one.heard == 1
    hall.pass_time(0.3)
    assert one.heard == 2


@pytest.mark.parametrize("pools", [1, 4, 8])
def test_what_is_dear_keeps_no_other_pool_waiting_for_long(hall, pools):
    """A single message may cost its own pool seconds, and all the others hundredths of one."""
    crowd(hall, pools, 2, cost=20 * BURST)
    hall.pass_time(2)
    for _ in range(10):
        hall.pass_time(0.37)
        honest = Speaker(hall, hall.pool(), 3)
        honest.speak()
        hall.pass_time(10 * TICK_S)
        assert honest.heard == 3


def test_who_is_gone_is_not_called_and_nothing_stays_planned(hall):
    """Its descriptor may be another's by then."""
    flood = crowd(hall, 2, 3)
    hall.pass_time(1)
    before = total(flood)
    for one in flood:
        one.share.forget(one)
    hall.pass_time(5)
    assert total(flood) == before
    assert not hall.planned
    assert all(one.share.is_open for one in flood)


def test_waiting_is_timed_from_its_beginning_until_nobody_waits(hall):
    """This is how a flood is told from a burst."""
    share = hall.pool()
    one, other = Speaker(hall, share, ENDLESS), Speaker(hall, share, ENDLESS)
    one.speak()
    began_s = hall.now_s
    other.speak()
    hall.pass_time(3)
    assert share.waiting_since_s == began_s
    assert 0 <= share.late_s <= 2 * TICK_S  # each of them has its turn in every tick
    one.left = other.left = 1
    hall.pass_time(3)
    assert one.left + other.left == 0
    assert share.waiting_since_s == float("inf")


def test_burst_of_the_past_is_not_held_against_a_pool(hall):
    """What it said while nobody waited says nothing about whose turn it is now."""
    loud = hall.pool()
    for _ in range(20):
        Speaker(hall, loud, 300).speak()
        hall.pass_time(1)
    crowd(hall, 10, 2)
    hall.pass_time(2)
    one = Speaker(hall, loud, 1)
    one.speak()
    hall.pass_time(5 * TICK_S)
    assert one.heard == 1


def test_machine_too_slow_for_the_budget_is_left_time_for_others(hall):
    """What comes back while turns are given waits for the next tick: a tick ends."""
    flood = crowd(hall, 10, 1)

    class Slow(Speaker):
        def take_turn(self):
            hall.now_s += 0.1
            super().take_turn()

    share = hall.pool()
    slow = Slow(hall, share, ENDLESS)
    share.wait(slow)
    hall.pass_time(10 * TICK_S)
    assert slow.heard <= 10 * (BURST + 0.1 * PER_S * 10)
    assert flood
