"""How often a saturated worker says so."""

import pytest

from pyfpm.runtime.handoff import saturated_every_ns


@pytest.mark.parametrize(
    ("max_children", "every_s"), [(1, 0.02), (20, 0.02), (100, 0.1), (1000, 1), (4_000_000, 1)]
)
def test_large_pool_says_less_often_that_it_is_saturated_but_never_less_than_once_a_second(
    max_children, every_s
):
    """A limit that is never reached must not keep a few busy workers from being heard."""
    assert saturated_every_ns(max_children) == every_s * 1e9
