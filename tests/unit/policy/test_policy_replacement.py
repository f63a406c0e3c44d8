"""Workers that make way for new ones, one situation at a time."""

from dataclasses import replace

import pytest
from pool_simulation import Pool

from pyfpm.policy import (
    Limits,
    Memory,
    PoolView,
    ProcessManager,
    Replace,
    ReportProcessMax,
    Retire,
    Spawn,
    WorkerView,
    decide,
    note_boot_failed,
    note_limits_changed,
)
from pyfpm.scoreboard import Stage

STATIC = Limits(pm=ProcessManager.STATIC, max_children=4, reload_surge=2)
DYNAMIC = Limits(
    pm=ProcessManager.DYNAMIC,
    max_children=20,
    min_spare_servers=2,
    max_spare_servers=5,
    start_servers=3,
    reload_surge=5,
)
ONDEMAND = Limits(pm=ProcessManager.ONDEMAND, max_children=10, reload_surge=2)
SETTLED = Memory(target=0, maintain_s=101.0)
BETWEEN_LOOKS_S = 100.5


def worker(key, stage=Stage.IDLE, *, due=False, outgoing=False, quiet_s=None, started_s=0.0):
    quiet_s = float(key) if quiet_s is None else quiet_s
    return WorkerView(key, stage, quiet_s, started_s, due=due, outgoing=outgoing)


def due(key, stage=Stage.IDLE, **how):
    return worker(key, stage, due=True, **how)


def outgoing(key, stage=Stage.IDLE, **how):
    return worker(key, stage, due=True, outgoing=True, **how)


def view(*workers, waiting=False, room=1000):
    return PoolView(workers, waiting=waiting, room=room)


def replaced(decision):
    return [action.key for action in decision.actions if isinstance(action, Replace)]


# who, and how many


def test_due_worker_is_replaced_and_not_retired():
    """The new one comes first; nobody is told to go."""
    seen = view(worker(0), due(1), worker(2), worker(3))
    assert decide(seen, STATIC, Memory(), 100.0).actions == (Replace(1),)


def test_due_workers_idle_first_then_the_oldest():
    """An idle worker gives its part of the surge back at once, a busy one after its request."""
    limits = replace(STATIC, reload_surge=4)
    seen = view(
        due(0, Stage.RUNNING, started_s=1.0),
        due(1, started_s=4.0),
        due(2, Stage.READING, started_s=0.0),
        due(3, started_s=3.0),
    )
    assert replaced(decide(seen, limits, Memory(), 100.0)) == [3, 1, 2, 0]


def test_due_workers_beyond_the_surge_wait_for_their_turn():
    """Workers that are there, with those that go and drain, are max_children + surge at most."""
    seen = view(*[due(key) for key in range(4)])
    decision = decide(seen, STATIC, Memory(), 100.0)
    assert replaced(decision) == [0, 1]
    assert decision.next_look_s is None  # the end of a boot or of a drain is what comes next


def test_draining_worker_uses_the_surge():
    """A replaced worker that is still busy delays the next replacement."""
    seen = view(*[due(key) for key in range(4)], worker(9, Stage.DRAINING))
    assert replaced(decide(seen, STATIC, Memory(), 100.0)) == [0]


def test_missing_workers_use_the_surge_before_replacements():
    """A worker spawned in the same decision takes its part."""
    draining = [worker(key, Stage.DRAINING) for key in (8, 9)]
    decision = decide(view(due(0), due(1), *draining), STATIC, Memory(), 100.0)
    assert decision.actions == (Spawn(2),)


def test_small_dynamic_pool_is_replaced_at_once():
    """What is free below pm.max_children bounds replacements as little as the surge does."""
    seen = view(*[due(key) for key in range(4)])
    memory = replace(SETTLED, target=4)
    assert replaced(decide(seen, DYNAMIC, memory, BETWEEN_LOOKS_S)) == [0, 1, 2, 3]


def test_due_worker_that_boots_waits_for_the_end_of_its_boot():
    """A second boot beside the first would gain nothing."""
    seen = view(due(0, Stage.BOOTING), worker(1), worker(2), worker(3))
    assert decide(seen, STATIC, Memory(), 100.0).actions == ()


def test_outgoing_worker_is_not_replaced_twice():
    """One request for a replacement is enough."""
    seen = view(outgoing(0), worker(1), worker(2), worker(3), worker(4, Stage.BOOTING))
    assert decide(seen, STATIC, Memory(), 100.0).actions == ()


# one place


@pytest.mark.parametrize("pm", list(ProcessManager))
def test_outgoing_worker_that_dies_has_its_successor_already(pm):
    """Nobody else is spawned for its place."""
    limits = replace(DYNAMIC, pm=pm, max_children=4, min_spare_servers=1)
    seen = view(worker(1), worker(2), worker(3), worker(4, Stage.BOOTING))
    memory = replace(SETTLED, target=4)
    assert decide(seen, limits, memory, 3.0).actions == ()


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.RUNNING])
def test_dynamic_target_is_not_moved_by_replacements(stage):
    """An outgoing worker and its replacement are one; so are a draining one and its successor."""
    memory = replace(SETTLED, target=3)
    during = view(worker(0), worker(1), outgoing(2, stage), worker(3, Stage.BOOTING))
    after = view(worker(0), worker(1), due(2, Stage.DRAINING), worker(3))
    for seen in (during, after):
        decision = decide(seen, DYNAMIC, memory, BETWEEN_LOOKS_S)
        assert decision.actions == ()
        assert decision.memory.target == 3


def test_idle_outgoing_worker_still_takes_what_waits():
    """A pool is not saturated while an outgoing worker has nothing to do."""
    seen = view(
        *[worker(key, Stage.RUNNING) for key in range(3)],
        outgoing(3),
        worker(4, Stage.BOOTING, started_s=90.0),  # too long under way to hold growth back
        waiting=True,
    )
    assert decide(seen, DYNAMIC, replace(SETTLED, target=4), BETWEEN_LOOKS_S).actions == ()


# what comes first


def test_missing_workers_come_before_replacements():
    """What pm.max_spawn_rate leaves is for those that still serve."""
    limits = replace(STATIC, max_spawn_rate=3)
    seen = view(due(0), due(1))
    decision = decide(seen, limits, Memory(), 100.0)
    assert decision.actions == (Spawn(2), Replace(0))
    assert decision.next_look_s == 101.0


def test_missing_workers_use_room_before_replacements():
    """The last process that process.max allows is a worker more, not a newer one."""
    seen = view(due(0), due(1), worker(2), room=1)
    assert decide(seen, STATIC, Memory(), 100.0).actions == (Spawn(1),)


def test_saturated_pool_grows_before_it_replaces():
    """Replacements with a slow boot, one after the other, would hold growth back for minutes."""
    busy = [due(key, Stage.RUNNING) for key in range(3)]
    seen = view(*busy, worker(9, Stage.BOOTING, started_s=100.0), waiting=True)
    memory = replace(SETTLED, target=4)
    assert decide(seen, DYNAMIC, memory, BETWEEN_LOOKS_S).actions == ()
    calm = replace(seen, waiting=False)
    assert replaced(decide(calm, DYNAMIC, memory, BETWEEN_LOOKS_S)) == [0, 1, 2]


def test_pool_with_somebody_idle_replaces_though_something_waits():
    """A connection that an idle worker is about to take is no shortage."""
    seen = view(worker(0), worker(1), due(2, Stage.RUNNING), waiting=True)
    memory = replace(SETTLED, target=3)
    assert replaced(decide(seen, DYNAMIC, memory, BETWEEN_LOOKS_S)) == [2]


def test_listeners_need_no_watching_while_a_replacement_boots():
    """The end of its boot brings the next decision anyway."""
    memory = replace(SETTLED, target=3)
    calm = view(worker(0), worker(1), worker(2))
    assert decide(calm, DYNAMIC, memory, BETWEEN_LOOKS_S).may_grow
    seen = view(worker(0), worker(1), due(2))
    assert not decide(seen, DYNAMIC, memory, BETWEEN_LOOKS_S).may_grow


def test_saturated_pool_at_its_limit_replaces():
    """A pool that may not grow has nothing to wait for."""
    limits = replace(DYNAMIC, max_children=5)
    seen = view(*[due(key, Stage.RUNNING) for key in range(5)], waiting=True)
    memory = replace(SETTLED, target=5, capped_s=100.0)
    assert replaced(decide(seen, limits, memory, BETWEEN_LOOKS_S)) == [0, 1, 2, 3, 4]


# bounds


def test_replacement_after_a_failed_boot_waits_for_the_pause():
    """Then one at a time tries."""
    memory = note_boot_failed(Memory(), 100.0, started_s=99.0)
    seen = view(*[due(key) for key in range(4)])
    paused = decide(seen, STATIC, memory, 100.05)
    assert paused.actions == ()
    assert paused.next_look_s == pytest.approx(100.1)
    assert replaced(decide(seen, STATIC, memory, 100.1)) == [0]
    booting = view(outgoing(0), due(1), due(2), due(3), worker(4, Stage.BOOTING))
    assert decide(booting, STATIC, memory, 100.2).actions == ()


def test_probe_after_a_failed_boot_is_the_missing_worker():
    """One at a time means one, whichever it is."""
    memory = note_boot_failed(Memory(), 100.0, started_s=99.0)
    assert decide(view(due(0), due(1), due(2)), STATIC, memory, 100.1).actions == (Spawn(1),)


def test_replacements_share_the_spawn_rate_of_the_second():
    """A second sees pm.max_spawn_rate boots, whatever they are for."""
    limits = replace(STATIC, max_children=8, reload_surge=8, max_spawn_rate=3)
    seen = view(*[due(key) for key in range(8)])
    first = decide(seen, limits, Memory(), 100.0)
    assert replaced(first) == [0, 1, 2]
    assert first.next_look_s == 101.0
    assert decide(seen, limits, first.memory, 100.9).actions == ()
    assert replaced(decide(seen, limits, first.memory, 101.0)) == [0, 1, 2]


def test_without_room_a_replacement_is_put_off_and_looked_at_again():
    """Nobody is told to go, and a second later there may be room."""
    decision = decide(view(*[due(key) for key in range(4)], room=0), STATIC, Memory(), 100.0)
    assert decision.actions == ()
    assert decision.next_look_s == 101.0


def test_replacement_put_off_for_long_is_reported_once():
    """A few seconds without room are nobody's concern, a recycle that never comes is one line."""
    full = view(due(0), worker(1), worker(2), worker(3), room=0)
    memory, reports = Memory(), []
    for second in range(40):
        decision = decide(full, STATIC, memory, 100.0 + second)
        memory = decision.memory
        reports += [(second, action) for action in decision.actions]
    assert reports == [(10, ReportProcessMax(wanted=1))]


def test_replacement_put_off_again_and_again_is_not_reported():
    """Room that comes and goes lets the due workers through, only slowly."""
    full = view(due(0), worker(1), worker(2), worker(3), room=0)
    memory = Memory()
    for second in range(40):
        seen = replace(full, room=int(second % 8 == 0))
        decision = decide(seen, STATIC, memory, 100.0 + second)
        memory = decision.memory
        assert not any(isinstance(action, ReportProcessMax) for action in decision.actions)


@pytest.mark.parametrize(
    ("room", "memory"),
    [
        (5, Memory(spawns=((99.5, 32),))),
        (0, note_boot_failed(Memory(), 99.99, started_s=99.0)),
    ],
)
def test_replacement_put_off_by_anything_else_is_not_reported(room, memory):
    """The spawn rate and the pause after a failed boot end by themselves."""
    full = view(due(0), worker(1), worker(2), worker(3), room=room)
    decision = decide(full, STATIC, replace(memory, put_off_s=50.0), 100.0)
    assert decision.actions == ()


# workers that go anyway


def test_dynamic_too_many_idle_retires_the_due_one():
    """Of two that could go, the one that would need a boot goes."""
    seen = view(*[worker(key) for key in range(5)], due(5))
    decision = decide(seen, DYNAMIC, replace(SETTLED, target=6, maintain_s=100.0), 100.0)
    assert decision.actions == (Retire(5),)


def test_dynamic_worker_that_goes_next_is_not_replaced():
    """Its boot would be for nothing: at the next maintenance it retires."""
    seen = view(*[worker(key) for key in range(5)], due(5))
    assert decide(seen, DYNAMIC, replace(SETTLED, target=6), BETWEEN_LOOKS_S).actions == ()


def test_dynamic_worker_that_goes_next_stays_so_while_others_are_replaced():
    """Outgoing workers are idle too, so there are still more than pm.max_spare_servers."""
    outgoing_five = [outgoing(key) for key in range(5)]
    boots = [worker(key, Stage.BOOTING, started_s=100.0) for key in range(10, 15)]
    seen = view(*outgoing_five, due(5), *boots)
    memory = replace(SETTLED, target=6)
    assert decide(seen, DYNAMIC, memory, BETWEEN_LOOKS_S).actions == ()
    assert decide(seen, DYNAMIC, memory, 101.0).actions == (Retire(5),)


def test_dynamic_spare_worker_that_the_pool_keeps_is_replaced():
    """Shortly after growth nobody retires, so a due worker may not wait for that."""
    seen = view(*[worker(key) for key in range(5)], due(5))
    memory = replace(SETTLED, target=6, grown_s=99.0)
    assert decide(seen, DYNAMIC, memory, BETWEEN_LOOKS_S).actions == (Replace(5),)


def test_ondemand_idle_past_timeout_retires_without_replacement():
    """Nobody needs it, so nobody needs another in its place."""
    seen = view(due(0, quiet_s=50.0), due(1, quiet_s=99.0))
    assert decide(seen, ONDEMAND, Memory(), 100.0).actions == (Replace(1), Retire(0))


def test_ondemand_idle_past_timeout_while_something_waits_is_left_alone():
    """It takes the connection, and is looked at again at once."""
    seen = view(due(0, quiet_s=50.0), waiting=True)
    decision = decide(seen, ONDEMAND, Memory(), 100.0)
    assert decision.actions == ()
    assert decision.next_look_s == pytest.approx(100.1)


@pytest.mark.parametrize("pm", list(ProcessManager))
def test_limit_lowered_retires_due_workers_first(pm):
    """Also before idle ones: each due worker that stays would cost a boot."""
    limits = replace(DYNAMIC, pm=pm, max_children=2)
    seen = view(worker(0), due(1, Stage.RUNNING), worker(2, Stage.RUNNING), due(3))
    assert decide(seen, limits, Memory(), 100.0).actions == (Retire(3), Retire(1))


def test_limit_lowered_leaves_outgoing_workers_to_their_replacements():
    """They hold no place, so telling them to go would not make the pool smaller."""
    limits = replace(STATIC, max_children=1)
    seen = view(outgoing(0), worker(1), worker(2, Stage.BOOTING))
    assert decide(seen, limits, Memory(), 100.0).actions == (Retire(1),)


# a whole pool


def test_single_worker_is_replaced_without_a_dip():
    """With a surge of one, a static pool of one always has a worker that takes connections."""
    pool = Pool(replace(STATIC, max_children=1, reload_surge=1), boot_s=2.0)
    pool.run(5.0)
    pool.become_due(-1)
    for _ in range(50):
        pool.run(0.1)
        assert pool.ready == 1
    assert pool.due == 0
    assert len(pool.actions(Replace)) == 1


def test_replacement_that_fails_leaves_the_old_worker_serving():
    """It is tried again ever more rarely, and goes through once boots succeed."""
    pool = Pool(STATIC)
    pool.run(5.0)
    pool.become_due(0b1)
    pool.boots_fail = True
    pool.run(20.0)
    assert (pool.ready, pool.due, pool.serving) == (4, 1, 4)
    assert len(pool.actions(Replace)) < 12
    pool.boots_fail = False
    pool.run(12.0)
    assert (pool.ready, pool.due, pool.serving) == (4, 0, 4)


# other limits


def test_limits_changed_dynamic_pool_keeps_its_workers():
    """More than pm.start_servers are not retired for it, and nobody is spawned."""
    memory = note_limits_changed(replace(SETTLED, target=9))
    decision = decide(view(*[worker(key) for key in range(5)]), DYNAMIC, memory, BETWEEN_LOOKS_S)
    assert decision.actions == ()
    assert decision.memory.target == 5


def test_limits_changed_dynamic_pool_grows_to_new_start_servers():
    """A higher pm.start_servers counts at once, as at a start."""
    limits = replace(DYNAMIC, start_servers=5)
    memory = note_limits_changed(replace(SETTLED, target=3))
    seen = view(*[worker(key) for key in range(3)])
    assert decide(seen, limits, memory, BETWEEN_LOOKS_S).actions == (Spawn(2),)


def test_limits_changed_keeps_spawns_and_boot_failures():
    """A reload is no way around pm.max_spawn_rate and the pause after failed boots."""
    memory = note_boot_failed(replace(SETTLED, spawns=((99.5, 32),)), 100.0, started_s=99.0)
    changed = note_limits_changed(memory)
    assert (changed.spawns, changed.retry_s) == (memory.spawns, memory.retry_s)
    assert changed.degraded


def test_limits_changed_begins_a_new_episode():
    """The operator who raised pm.max_children wants to hear that the new one is too low as well."""
    limits = replace(DYNAMIC, max_children=3)
    full = view(*[worker(key, Stage.RUNNING) for key in range(3)], waiting=True)
    crowded = replace(full, workers=full.workers[:2], room=0)
    for seen in (full, crowded):
        memory = decide(seen, limits, replace(SETTLED, target=len(seen.workers)), 100.0).memory
        assert decide(seen, limits, memory, 100.1).actions == ()
        assert decide(seen, limits, note_limits_changed(memory), 100.1).actions
