"""What holds for every pool whose workers are replaced, whatever else happens to it."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from pool_limits import limits_of
from pool_simulation import Pool

from pyfpm.policy import ProcessManager, Replace, Retire, Spawn
from pyfpm.scoreboard import Stage

SETTINGS = settings(max_examples=60, deadline=None)
MOST_WORKERS = 40

chosen = st.integers(1, 2**MOST_WORKERS - 1)
boot_time = st.sampled_from([0.005, 0.3, 2.0, 7.0])
event = st.one_of(
    st.tuples(st.just("arrive"), st.integers(1, 30)),
    st.tuples(st.just("finish"), st.integers(1, 30)),
    st.tuples(st.just("die"), st.integers(1, 5)),
    st.tuples(st.just("run"), st.sampled_from([0.003, 0.05, 0.4, 1.0, 3.0])),
    st.tuples(st.just("boots_fail"), st.booleans()),
    st.tuples(st.just("become_due"), chosen),
    st.tuples(st.just("scale"), st.integers(1, MOST_WORKERS)),
)


def happen(pool, events):
    for name, value in events:
        if name == "boots_fail":
            pool.boots_fail = value
        else:
            getattr(pool, name)(value)
        pool.look()


def at_rest(limits, **how):
    pool = Pool(limits, **how)
    pool.arrive(limits.max_children)
    pool.run(60.0 + 7 * limits.max_children)
    pool.finish_all()
    pool.run(60.0 + limits.max_children)
    return pool


@SETTINGS
@given(limits_of(), st.lists(event, max_size=25), st.integers(1, 60), boot_time)
def test_pool_in_any_weather_replaces_within_its_limits(limits, events, process_max, boot_s):
    """Surge, process.max, spawn rate, and nobody goes who is needed (checked in the simulation)."""
    pool = Pool(limits, boot_s=boot_s, process_max=process_max)
    pool.run(0.01)
    happen(pool, events)


@SETTINGS
@given(limits_of(), st.lists(event, max_size=25), boot_time)
def test_after_any_weather_every_due_worker_is_gone(limits, events, boot_s):
    """Boots that succeed, drains that end and room: then nothing old is left, and nothing odd."""
    pool = Pool(limits, boot_s=boot_s)
    pool.run(0.01)
    happen(pool, events)
    pool.boots_fail = False
    pool.finish_all()
    for _ in range(2 * MOST_WORKERS):
        pool.finish(MOST_WORKERS)
        pool.run(boot_s + 1.0)
    assert pool.due == 0
    assert pool.replacing == {}
    assert pool.count(Stage.IDLE) == len(pool.workers)
    resting_s = pool.now_s
    pool.run(30.0)
    assert pool.actions(Replace, since_s=resting_s) == []


@SETTINGS
@given(
    limits_of(ProcessManager.STATIC),
    st.lists(
        st.one_of(
            st.tuples(st.just("arrive"), st.integers(1, 30)),
            st.tuples(st.just("run"), st.sampled_from([0.003, 0.4, 3.0])),
            st.tuples(st.just("boots_fail"), st.booleans()),
            st.tuples(st.just("become_due"), chosen),
            st.tuples(st.just("finish"), st.integers(1, 30)),
        ),
        max_size=25,
    ),
    st.integers(0, 3),
    boot_time,
)
def test_static_pool_never_has_a_worker_less(limits, events, spare_room, boot_s):
    """Whatever is due and whatever fails, pm.max_children workers take connections."""
    pool = Pool(limits, boot_s=boot_s, process_max=limits.max_children + spare_room)
    pool.run(60.0 + 7 * limits.max_children)
    for one in events:
        happen(pool, [one])
        assert pool.ready == limits.max_children
        assert pool.serving == limits.max_children


@SETTINGS
@given(
    limits_of(ProcessManager.STATIC, ProcessManager.DYNAMIC), chosen, st.integers(0, 10), boot_time
)
def test_replaced_pool_is_as_large_as_it_was(limits, due, deaths, boot_s):
    """One new worker for each due one, also where the old one dies before the new one is ready."""
    pool = at_rest(limits, boot_s=boot_s)
    before, since_s = pool.serving, pool.now_s
    pool.become_due(due)
    number = pool.due
    pool.look()
    outgoing = [key for key, worker in pool.workers.items() if worker.outgoing]
    for key in outgoing[:deaths]:
        pool.remove(key)
    pool.look()
    pool.run((boot_s + 1.0) * MOST_WORKERS + 1.0)
    assert pool.due == 0
    assert pool.serving == len(pool.workers) == before
    assert len(pool.actions(Replace, since_s=since_s)) == number
    assert pool.actions(Spawn, since_s=since_s) == []
    assert pool.actions(Retire, since_s=since_s) == []


@SETTINGS
@given(limits_of(ProcessManager.ONDEMAND), st.integers(1, MOST_WORKERS), chosen, boot_time)
def test_ondemand_pool_keeps_its_workers_until_the_timeout(limits, clients, due, boot_s):
    """Due workers within the idle timeout are replaced, and nobody is spawned besides."""
    pool = Pool(replace(limits, process_idle_timeout_s=1000.0), boot_s=boot_s)
    pool.arrive(clients)
    pool.run(60.0 + 7 * limits.max_children)
    pool.finish_all()
    pool.run(10.0)
    before, since_s = pool.serving, pool.now_s
    pool.become_due(due)
    number = pool.due
    pool.run((boot_s + 1.0) * MOST_WORKERS + 1.0)
    assert (pool.due, pool.serving) == (0, before)
    assert len(pool.actions(Replace, since_s=since_s)) == number
    assert pool.actions(Spawn, since_s=since_s) == []


@SETTINGS
@given(limits_of(), st.integers(1, MOST_WORKERS), chosen)
def test_without_room_nobody_is_replaced_and_nobody_goes(limits, clients, due):
    """process.max in the way puts a recycle off for as long as it is there."""
    pool = Pool(replace(limits, process_idle_timeout_s=1000.0))
    pool.arrive(clients)
    pool.run(60.0 + limits.max_children)
    pool.finish_all()
    pool.run(60.0 + limits.max_children)
    pool.process_max = before = len(pool.workers)
    pool.become_due(due)
    number, since_s = pool.due, pool.now_s
    pool.run(60.0)
    assert (pool.ready, pool.due) == (before, number)
    assert pool.actions(Replace, since_s=since_s) == []
    pool.process_max += 1
    pool.run(MOST_WORKERS + 2.0)
    assert (pool.ready, pool.due) == (before, 0)
