"""Limits of any pool that a configuration can describe, for properties."""

from hypothesis import strategies as st

from pyfpm.policy import Limits, ProcessManager


@st.composite
def limits_of(draw, *managers):
    max_children = draw(st.integers(1, 40))
    min_spare = draw(st.integers(1, max_children))
    max_spare = draw(st.integers(min_spare, max_children))
    return Limits(
        pm=draw(st.sampled_from(managers or tuple(ProcessManager))),
        max_children=max_children,
        min_spare_servers=min_spare,
        max_spare_servers=max_spare,
        start_servers=draw(st.integers(min_spare, max_spare)),
        max_spawn_rate=draw(st.integers(1, 40)),
        reload_surge=draw(st.integers(1, 12)),
        process_idle_timeout_s=draw(st.sampled_from([1.0, 2.5, 10.0])),
    )
