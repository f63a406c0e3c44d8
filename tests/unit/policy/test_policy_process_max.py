"""Who gets how much of process.max."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.policy import Claim, room_of


def claim(processes, max_children=4, reload_surge=1):
    return Claim(processes, max_children, reload_surge)


@pytest.mark.parametrize(
    ("processes", "others", "process_max", "room"),
    [
        pytest.param(0, [0], 8, 5, id="its-own"),
        pytest.param(0, [0], 3, 3, id="what-there-is"),
        pytest.param(4, [0], 8, 1, id="a-place-to-replace-in"),
        pytest.param(5, [0], 8, 0, id="not-a-second-one-of-the-others"),
        pytest.param(5, [0], 13, 3, id="what-the-others-leave"),
        pytest.param(4, [0], 5, 0, id="not-the-last-place-of-one-that-sleeps"),
        pytest.param(4, [3], 8, 1, id="the-last-place-where-nobody-sleeps"),
        pytest.param(4, [4], 9, 1, id="beside-a-full-one"),
        pytest.param(2, [6], 8, 0, id="nothing-is-left"),
        pytest.param(0, [5], 8, 3, id="the-rest-beside-one-that-keeps-a-place"),
        pytest.param(9, [], 20, 11, id="alone"),
    ],
)
def test_room_of_a_pool_leaves_the_others_theirs(processes, others, process_max, room):
    """pm.max_children is 4 in each, and pm.reload_surge 1."""
    assert room_of(claim(processes), map(claim, others), process_max) == room


def test_last_place_is_lent_where_an_operator_asks():
    """A reload that somebody waits for gets on, though another pool sleeps."""
    assert room_of(claim(4), [claim(0)], 5) == 0
    assert room_of(claim(4), [claim(0)], 5, takes_last=True) == 1


def test_lowered_process_max_leaves_no_room():
    """A reload has lowered it below what there is."""
    assert room_of(claim(6), [claim(4)], 5) <= 0


SIZES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 3)), min_size=2, max_size=5)
GREED = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 30)), max_size=40)


@given(SIZES, st.integers(0, 10), GREED)
def test_pool_has_its_own_whatever_the_others_take(sizes, more, greed):
    """With room for pm.max_children and the surge of all: what is its own is there for it."""
    process_max = sum(map(sum, sizes)) + more
    counts = [0] * len(sizes)
    for which, wanted in greed:
        taker = which % len(sizes)
        take(counts, sizes, process_max, taker, wanted)
        assert sum(counts) <= process_max
        most, surge = sizes[0]
        if taker:
            assert room(counts, sizes, process_max, 0) >= most + surge - counts[0]


@given(SIZES, st.integers(1, 20), GREED)
def test_who_takes_more_leaves_the_last_place_to_one_without_a_worker(sizes, process_max, greed):
    """However little process.max is, and however many pools keep what they got."""
    counts = [0] * len(sizes)
    for which, wanted in greed:
        taker = which % len(sizes)
        before = counts[taker]
        take(counts, sizes, process_max, taker, wanted)
        assert sum(counts) <= process_max
        has_more = counts[taker] > max(before, sizes[taker][0])
        assert not (has_more and sum(counts) == process_max and 0 in counts)


@given(SIZES, st.data())
def test_pools_that_are_reloaded_together_all_get_on(sizes, data):
    """Each full, and with one place beside them: whoever gets it gives it back, until all did."""
    process_max = sum(most for most, _ in sizes) + 1
    counts = [most for most, _ in sizes]
    left = list(counts)
    boots = [False] * len(sizes)
    while any(left):
        able = [
            i
            for i in range(len(sizes))
            if boots[i] or (left[i] and room(counts, sizes, process_max, i) > 0)
        ]
        assert able
        turn = data.draw(st.sampled_from(able))
        boots[turn] = not boots[turn]
        counts[turn] += 1 if boots[turn] else -1
        left[turn] -= not boots[turn]


def room(counts, sizes, process_max, which):
    claims = [Claim(count, *size) for count, size in zip(counts, sizes, strict=True)]
    return room_of(claims.pop(which), claims, process_max)


def take(counts, sizes, process_max, which, wanted):
    counts[which] += max(0, min(wanted, room(counts, sizes, process_max, which)))
