"""How many connections of pools without workers the master keeps, however many pools there are."""

import pytest

from pyfpm.master.adoption import MOST, Allowance


def fill(descriptors, pools, hostile):
    """Let so many of the pools keep all they may, in turn; return what each of them keeps."""
    allowance = Allowance()
    for _ in range(pools):
        allowance.join(descriptors)
    held = [0] * pools
    for first, last in ((0, hostile), (hostile, pools)):
        grown = True
        while grown:
            grown = False
            for number in range(first, last):
                if allowance.room(held[number]) > 0:
                    held[number] += 1
                    allowance.held += 1
                    grown = True
    return held


@pytest.mark.parametrize("descriptors", [1024, 4096, 524_288])
@pytest.mark.parametrize("pools", [1, 4, 16, 17, 100, 1000])
def test_pools_together_leave_half_of_the_descriptors(descriptors, pools):
    """Each takes what it can: there are still descriptors to start workers with."""
    held = fill(descriptors, pools, pools)
    assert sum(held) <= descriptors // 2
    assert max(held) <= min(MOST, descriptors // 16)


@pytest.mark.parametrize(("descriptors", "pools"), [(1024, 20), (4096, 100), (524_288, 200)])
def test_pool_that_comes_after_hostile_ones_has_its_part(descriptors, pools):
    """Its last worker can leave, and its web server loses no connection."""
    held = fill(descriptors, pools, pools - 1)
    assert held[-1] >= min(MOST, descriptors // 4 // pools) > 0


def test_one_pool_alone_may_keep_a_sixteenth():
    """As long as nobody else needs it."""
    assert fill(16_384, 50, 1)[0] == 1024
