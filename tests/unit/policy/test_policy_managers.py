"""The three process managers, one situation at a time."""

from dataclasses import replace

import pytest
from pool_simulation import Pool

from pyfpm.policy import (
    Limits,
    Memory,
    PoolView,
    ProcessManager,
    ReportBusy,
    ReportMaxChildren,
    ReportProcessMax,
    Retire,
    Spawn,
    WorkerView,
    decide,
    note_boot_failed,
    note_ready,
)
from pyfpm.scoreboard import Stage

STATIC = Limits(pm=ProcessManager.STATIC, max_children=4)
DYNAMIC = Limits(
    pm=ProcessManager.DYNAMIC,
    max_children=20,
    min_spare_servers=2,
    max_spare_servers=5,
    start_servers=3,
)
ONDEMAND = Limits(pm=ProcessManager.ONDEMAND, max_children=10)


def view(*stages, waiting=False, room=1000, started_s=0.0):
    workers = tuple(
        WorkerView(key, stage, quiet_since_s=float(key), started_s=started_s)
        for key, stage in enumerate(stages)
    )
    return PoolView(workers, waiting=waiting, room=room)


def running(pm=DYNAMIC, **changes):
    """Memory of a dynamic pool that has started and was just maintained."""
    started = Memory(target=changes.pop("target", 0), maintain_s=changes.pop("maintain_s", 101.0))
    return replace(started, **changes)


# all three


@pytest.mark.parametrize("limits", [STATIC, DYNAMIC, ONDEMAND], ids=lambda x: x.pm.value)
def test_workers_that_drain_for_ever_are_not_replaced_for_ever(limits):
    """A worker that says it drains, and stays, leaves its place; there is an end to that."""
    memory = Memory(target=limits.max_children)
    draining = [Stage.DRAINING] * (limits.max_children + limits.reload_surge)
    decision = decide(view(*draining, waiting=True), limits, memory, 100.0)
    assert Spawn in map(type, decision.actions)
    both = draining + [Stage.DRAINING] * limits.max_children
    decision = decide(view(*both, waiting=True), limits, memory, 200.0)
    assert Spawn not in map(type, decision.actions)
    assert not decision.may_grow
    decision = decide(view(*both[1:], waiting=True), limits, memory, 200.0)
    assert Spawn(1) in decision.actions


# static


def test_static_at_start_spawns_all():
    """A static pool starts with pm.max_children workers."""
    assert decide(view(), STATIC, Memory(), 100.0).actions == (Spawn(4),)


def test_static_complete_sleeps():
    """A complete static pool wants nothing and does not ask to be woken."""
    decision = decide(view(*[Stage.IDLE] * 4, waiting=True), STATIC, Memory(), 100.0)
    assert decision.actions == ()
    assert decision.next_look_s is None
    assert not decision.may_grow


def test_static_after_death_replaces_at_once():
    """One worker less is one spawn, in the same decision."""
    seen = view(Stage.IDLE, Stage.RUNNING, Stage.IDLE)
    assert decide(seen, STATIC, Memory(), 100.0).actions == (Spawn(1),)


def test_static_draining_worker_is_replaced():
    """A worker on its way out does not count against pm.max_children."""
    seen = view(Stage.IDLE, Stage.RUNNING, Stage.IDLE, Stage.DRAINING)
    assert decide(seen, STATIC, Memory(), 100.0).actions == (Spawn(1),)


def test_static_at_limit_never_reports():
    """A saturated static pool is at its limit by design: no max_children episode, as PHP-FPM."""
    decision = decide(view(*[Stage.RUNNING] * 4, waiting=True), STATIC, Memory(), 100.0)
    assert decision.actions == ()


@pytest.mark.parametrize("pm", list(ProcessManager))
def test_limit_lowered_retires_surplus_idle_first(pm):
    """After pm.max_children was lowered the surplus leaves at once, idle workers before busy."""
    limits = replace(STATIC, pm=pm, max_children=2)
    seen = view(Stage.RUNNING, Stage.IDLE, Stage.RUNNING, Stage.BOOTING, Stage.IDLE)
    decision = decide(seen, limits, Memory(), 100.0)
    assert decision.actions == (Retire(1), Retire(4), Retire(3))


def test_limit_lowered_below_busy_retires_the_oldest():
    """When only busy workers are left to retire, they finish their requests and go."""
    limits = replace(STATIC, max_children=1)
    decision = decide(view(Stage.RUNNING, Stage.READING), limits, Memory(), 100.0)
    assert decision.actions == (Retire(0),)


# dynamic


def test_dynamic_at_start_spawns_start_servers():
    """A dynamic pool begins with pm.start_servers workers."""
    assert decide(view(), DYNAMIC, Memory(), 100.0).actions == (Spawn(3),)


def test_dynamic_after_death_replaces_at_once():
    """A worker that dies between two maintenance looks is replaced in the next decision."""
    seen = view(*[Stage.IDLE] * 4)
    assert decide(seen, DYNAMIC, running(target=5), 100.5).actions == (Spawn(1),)


def test_dynamic_saturated_grows_between_ticks():
    """A waiting connection and no idle worker spawn at once, not at the next second."""
    seen = view(*[Stage.RUNNING] * 3, waiting=True)
    assert decide(seen, DYNAMIC, running(target=3), 100.5).actions == (Spawn(2),)


def test_dynamic_saturated_while_booting_waits():
    """Workers on their way count as capacity: the same burst is not answered twice."""
    seen = view(*[Stage.RUNNING] * 3, Stage.BOOTING, Stage.BOOTING, waiting=True, started_s=100.0)
    decision = decide(seen, DYNAMIC, running(target=5), 100.5)
    assert decision.actions == ()
    assert decision.next_look_s == pytest.approx(100.6)


def test_dynamic_saturated_with_hanging_boot_grows_by_one():
    """A boot that takes many seconds stops holding growth back."""
    seen = view(*[Stage.RUNNING] * 3, Stage.BOOTING, waiting=True, started_s=90.0)
    assert decide(seen, DYNAMIC, running(target=4), 100.5).actions == (Spawn(1),)


def test_dynamic_waiting_with_idle_worker_does_not_grow():
    """Somebody idle takes what waits."""
    seen = view(Stage.RUNNING, Stage.IDLE, Stage.IDLE, waiting=True)
    assert decide(seen, DYNAMIC, running(target=3), 100.5).actions == ()


def test_dynamic_below_floor_grows_once_a_second_with_doubling():
    """Fewer idle than pm.min_spare_servers: 1, 2, 4 … at each maintenance, nothing between."""
    limits = replace(DYNAMIC, max_children=100, min_spare_servers=20, max_spare_servers=40)
    memory = running(target=30, maintain_s=100.0)
    busy = 30
    for second, spawned in enumerate((1, 2, 4, 8)):
        # Whatever is spawned is busy at once, so the floor stays broken.
        decision = decide(view(*[Stage.RUNNING] * busy), limits, memory, 100.0 + second)
        assert Spawn(spawned) in decision.actions
        busy += spawned
        again = view(*[Stage.RUNNING] * busy)
        between = decide(again, limits, decision.memory, 100.5 + second)
        assert between.actions == ()
        memory = between.memory


def test_dynamic_growing_second_after_second_reports_busy():
    """From a rate of 8 on the operator is told, as PHP-FPM does."""
    limits = replace(DYNAMIC, max_children=100, min_spare_servers=20, max_spare_servers=40)
    memory = running(target=30, maintain_s=100.0, rate=8)
    actions = decide(view(*[Stage.RUNNING] * 30), limits, memory, 100.0).actions
    assert actions == (ReportBusy(spawning=8, idle=0, total=30), Spawn(8))


def test_dynamic_too_many_idle_retires_the_longest_idle():
    """Of more than pm.max_spare_servers idle workers one goes, and it has been idle longest."""
    seen = view(Stage.RUNNING, *[Stage.IDLE] * 7)
    decision = decide(seen, DYNAMIC, running(target=8, maintain_s=100.0), 100.0)
    assert decision.actions == (Retire(1),)
    assert decision.memory.target == 7
    assert decision.next_look_s == 101.0


def test_dynamic_too_many_idle_between_ticks_retires_nobody():
    """However often the policy is asked, a dynamic pool gives up one worker a second."""
    seen = view(*[Stage.IDLE] * 7)
    assert decide(seen, DYNAMIC, running(target=7, maintain_s=100.0), 99.9).actions == ()


def test_dynamic_grown_worker_that_dies_is_replaced():
    """What was spawned for need is owed as much as what was spawned at the start."""
    busy = view(*[Stage.RUNNING] * 3, waiting=True)
    grown = decide(busy, DYNAMIC, running(target=3), 100.1)
    ready = decide(view(*[Stage.RUNNING] * 5), DYNAMIC, grown.memory, 100.2)
    assert ready.actions == ()
    assert decide(view(*[Stage.RUNNING] * 4), DYNAMIC, ready.memory, 100.3).actions == (Spawn(1),)


def test_dynamic_limit_lowered_below_what_it_had_spawns_nothing():
    """A lowered pm.max_children is not filled up to the old size again."""
    limits = replace(DYNAMIC, max_children=4)
    assert decide(view(*[Stage.IDLE] * 4), limits, running(target=9), 100.0).actions == ()


def test_dynamic_shortly_after_growth_keeps_spare_workers():
    """What was spawned at saturation is not retired in the next seconds."""
    seen = view(*[Stage.IDLE] * 8)
    memory = running(target=8, maintain_s=100.0, grown_s=97.0)
    assert decide(seen, DYNAMIC, memory, 100.0).actions == ()
    assert decide(seen, DYNAMIC, memory, 102.0).actions == (Retire(0),)


def test_dynamic_at_limit_reports_once_per_episode():
    """One report while the limit stays in the way, another after ten calm seconds."""
    limits = replace(DYNAMIC, max_children=6)
    full = view(*[Stage.RUNNING] * 6, waiting=True)
    memory = running(target=6, maintain_s=100.0)
    reports = []
    for at_s in (100.0, 100.1, 101.0, 105.0, 114.0, 130.0):
        decision = decide(full, limits, memory, at_s)
        memory = decision.memory
        reports += [at_s for action in decision.actions if isinstance(action, ReportMaxChildren)]
    assert reports == [100.0, 130.0]


def test_dynamic_without_room_reports_and_spawns_what_fits():
    """process.max bounds the spawn; the rest is asked for again a second later."""
    seen = view(Stage.RUNNING, Stage.RUNNING, Stage.RUNNING, waiting=True, room=1)
    decision = decide(seen, DYNAMIC, running(target=3), 100.0)
    assert decision.actions == (ReportProcessMax(wanted=2), Spawn(1))
    nothing = decide(replace(seen, room=0), DYNAMIC, decision.memory, 100.1)
    assert nothing.actions == ()
    assert nothing.next_look_s is not None


# ondemand


def test_ondemand_at_start_has_no_worker_and_sleeps():
    """Nothing waits, nothing runs, nothing is due."""
    decision = decide(view(), ONDEMAND, Memory(), 100.0)
    assert decision.actions == ()
    assert decision.next_look_s is None
    assert decision.may_grow


def test_ondemand_waiting_spawns_one():
    """The first connection brings the first worker."""
    assert decide(view(waiting=True), ONDEMAND, Memory(), 100.0).actions == (Spawn(1),)


def test_ondemand_still_waiting_after_boot_grows_again():
    """One edge of the listener may have been many connections: the need is looked at anew."""
    first = decide(view(waiting=True), ONDEMAND, Memory(), 100.0)
    second = decide(view(Stage.RUNNING, waiting=True), ONDEMAND, first.memory, 100.01)
    third = decide(view(*[Stage.RUNNING] * 3, waiting=True), ONDEMAND, second.memory, 100.02)
    assert (second.actions, third.actions) == ((Spawn(2),), (Spawn(4),))


def test_ondemand_waiting_is_looked_at_again_soon():
    """A lost wake-up costs a tenth of a second, not the request."""
    decision = decide(view(Stage.IDLE, waiting=True), ONDEMAND, Memory(), 100.0)
    assert decision.actions == ()
    assert decision.next_look_s == pytest.approx(100.1)


def test_ondemand_idle_past_timeout_all_retire():
    """Every worker past pm.process_idle_timeout goes, the longest idle first, down to zero."""
    decision = decide(view(Stage.IDLE, Stage.IDLE, Stage.IDLE), ONDEMAND, Memory(), 100.0)
    assert decision.actions == (Retire(0), Retire(1), Retire(2))
    assert decision.next_look_s is None


def test_ondemand_idle_within_timeout_is_looked_at_when_due():
    """The next look is the moment at which the first idle worker has been idle long enough."""
    decision = decide(view(Stage.IDLE, Stage.IDLE), ONDEMAND, Memory(), 5.0)
    assert decision.actions == ()
    assert decision.next_look_s == 10.0


def test_ondemand_busy_worker_is_looked_at_after_the_timeout():
    """A busy worker tells nobody when it becomes idle."""
    assert decide(view(Stage.RUNNING), ONDEMAND, Memory(), 50.0).next_look_s == 60.0


def test_ondemand_at_limit_reports_once():
    """PHP-FPM's counter: an episode at pm.max_children while connections wait."""
    full = view(*[Stage.RUNNING] * 10, waiting=True)
    first = decide(full, ONDEMAND, Memory(), 100.0)
    assert first.actions == (ReportMaxChildren(10),)
    assert decide(full, ONDEMAND, first.memory, 101.0).actions == ()


def test_ondemand_dead_worker_without_need_is_not_replaced():
    """An ondemand pool owes nobody a number of workers."""
    pool = Pool(ONDEMAND)
    pool.arrive(1)
    pool.run(1.0)
    pool.die(1)
    spawned = len(pool.actions(Spawn))
    pool.run(5.0)
    assert len(pool.actions(Spawn)) == spawned


# boot failures


def test_boot_failed_spawns_one_worker_after_the_pause():
    """After a failed boot nothing happens for 100 ms, then one worker tries."""
    memory = note_boot_failed(Memory(), 100.0, started_s=99.0)
    waiting = decide(view(), STATIC, memory, 100.05)
    assert waiting.actions == ()
    assert waiting.next_look_s == pytest.approx(100.1)
    assert not waiting.may_grow
    assert decide(view(), STATIC, memory, 100.1).actions == (Spawn(1),)


def test_boot_failed_while_another_boots_waits_for_its_end():
    """Only one worker tries at a time."""
    memory = note_boot_failed(Memory(), 100.0, started_s=99.0)
    assert decide(view(Stage.BOOTING), STATIC, memory, 105.0).actions == ()


def test_boot_failures_pause_doubles_up_to_ten_seconds():
    """100 ms, 200 ms … 6.4 s, 10 s, 10 s."""
    memory, now_s, pauses = Memory(), 100.0, []
    for _ in range(9):
        memory = note_boot_failed(memory, now_s, started_s=now_s)
        pauses.append(round(memory.retry_s - now_s, 6))
        now_s = memory.retry_s
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_boot_failures_of_one_burst_count_once():
    """Workers that started before the first failure was known say nothing new."""
    memory = note_boot_failed(Memory(), 100.0, started_s=99.0)
    assert note_boot_failed(memory, 100.5, started_s=99.0) == memory


def test_boot_succeeded_ends_the_pause():
    """One ready worker, and the pool spawns freely again."""
    memory = note_ready(note_boot_failed(Memory(), 100.0, started_s=99.0))
    assert not memory.degraded
    assert decide(view(), STATIC, memory, 100.01).actions == (Spawn(4),)


# bounds


def test_spawn_rate_reached_continues_when_the_second_is_over():
    """pm.max_spawn_rate bounds the start; the rest follows exactly a second later."""
    limits = replace(STATIC, max_children=5, max_spawn_rate=3)
    first = decide(view(), limits, Memory(), 100.0)
    assert first.actions == (Spawn(3),)
    assert first.next_look_s == 101.0
    three = view(*[Stage.IDLE] * 3)
    assert decide(three, limits, first.memory, 100.9).actions == ()
    assert decide(three, limits, first.memory, 101.0).actions == (Spawn(2),)


def test_room_overdrawn_spawns_nothing():
    """A negative room (the limit was lowered) is no room."""
    assert not any(
        isinstance(action, Spawn) for action in decide(view(room=-3), STATIC, Memory(), 1.0).actions
    )
