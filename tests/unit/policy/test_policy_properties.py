"""What holds for every pool, whatever happens to it."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from pool_limits import limits_of
from pool_simulation import Pool

from pyfpm.policy import Memory, ProcessManager, Retire, Spawn, note_boot_failed
from pyfpm.scoreboard import Stage

SETTINGS = settings(max_examples=60, deadline=None)


event = st.one_of(
    st.tuples(st.just("arrive"), st.integers(1, 30)),
    st.tuples(st.just("finish"), st.integers(1, 30)),
    st.tuples(st.just("die"), st.integers(1, 5)),
    st.tuples(st.just("run"), st.sampled_from([0.003, 0.05, 0.4, 1.0, 3.0])),
    st.tuples(st.just("boots_fail"), st.booleans()),
)


@SETTINGS
@given(
    limits_of(),
    st.lists(event, max_size=25),
    st.integers(1, 60),
    st.sampled_from([0.005, 0.3, 2.0, 7.0]),
)
def test_pool_in_any_weather_stays_within_its_limits(limits, events, process_max, boot_s):
    """max_children, process.max and the spawn rate hold at every decision (checked in `look`)."""
    pool = Pool(limits, boot_s=boot_s, process_max=process_max)
    pool.run(0.01)
    for name, value in events:
        if name == "boots_fail":
            pool.boots_fail = value
        else:
            getattr(pool, name)(value)
        pool.look()


@SETTINGS
@given(limits_of(ProcessManager.STATIC, ProcessManager.DYNAMIC), st.integers(1, 40))
def test_pool_after_deaths_is_back_as_soon_as_the_rate_allows(limits, deaths):
    """Dead workers are all replaced within the seconds that pm.max_spawn_rate needs for them."""
    pool = Pool(limits)
    pool.run(60.0)
    before = pool.serving
    pool.die(deaths)
    lost = before - pool.serving
    # The pool may have spawned in the second before, hence one more.
    pool.run(lost // limits.max_spawn_rate + 1.0)
    assert pool.serving == before


@SETTINGS
@given(limits_of(ProcessManager.DYNAMIC), st.integers(0, 40))
def test_dynamic_floor_is_reached_again_as_fast_as_growth_doubles(limits, busy):
    """With `busy` requests under way, min_spare idle workers are there within bounded time."""
    pool = Pool(limits)
    pool.run(60.0)
    pool.arrive(busy)
    # Doubling from 1 reaches any floor in six looks; then a full second's rate at a time.
    pool.run(8.0 + limits.max_children / limits.max_spawn_rate)
    wanted = min(limits.max_children, busy + limits.min_spare_servers)
    assert pool.serving >= wanted
    assert pool.count(Stage.RUNNING) == min(busy, limits.max_children)


@SETTINGS
@given(
    limits_of(ProcessManager.DYNAMIC, ProcessManager.ONDEMAND),
    st.integers(1, 40),
    st.sampled_from([0.005, 0.5, 2.0]),
)
def test_saturated_pool_grows_to_the_need_within_few_boots(limits, clients, boot_s):
    """`clients` long requests at once all run after log2 boots and what the rate adds."""
    pool = Pool(limits, boot_s=boot_s)
    pool.run(60.0)
    before = pool.decisions
    pool.arrive(clients)
    # 1 + 2 + 4 + 8 + 16 + 32 > 40: six boots, and one for each time that the rate bounds a step,
    # which then takes a second if the boot is shorter than that.
    seconds = (6 + clients / limits.max_spawn_rate) * max(boot_s, 1.0)
    pool.run(seconds)
    assert pool.count(Stage.RUNNING) == min(clients, limits.max_children)
    # Looks every 100 ms while something waits, at maintenance, and at the end of every boot.
    assert pool.decisions - before < 12 * seconds + 2 * limits.max_children


@SETTINGS
@given(limits_of(ProcessManager.ONDEMAND), st.integers(1, 40))
def test_burst_spawns_at_most_twice_the_need(limits, clients):
    """Doubling overshoots, but not by more than the last step."""
    pool = Pool(limits)
    pool.arrive(clients)
    pool.run(0.9)
    assert sum(action.count for action in pool.actions(Spawn)) <= 2 * clients


@SETTINGS
@given(limits_of(), st.integers(0, 40), st.integers(0, 40))
def test_steady_load_comes_to_rest(limits, burst, steady):
    """Under a load that no longer changes there are finitely many actions, then none."""
    pool = Pool(limits)
    pool.run(1.0)
    pool.arrive(burst)
    pool.run(2.0)
    pool.finish_all()
    pool.arrive(steady)
    # Shrinking takes a second a worker after the settling time, an idle timeout at most 10 s.
    pool.run(limits.max_children + 60.0)
    at_rest_s = pool.now_s
    pool.run(60.0)
    assert pool.actions(Spawn, since_s=at_rest_s) == []
    assert pool.actions(Retire, since_s=at_rest_s) == []
    idle = pool.count(Stage.IDLE)
    if limits.pm is ProcessManager.ONDEMAND:
        assert idle == 0
    if limits.pm is ProcessManager.DYNAMIC and steady < limits.max_children:
        room = limits.max_children - min(steady, limits.max_children)
        assert min(limits.min_spare_servers, room) <= idle <= limits.max_spare_servers


@SETTINGS
@given(limits_of(ProcessManager.DYNAMIC), st.integers(1, 40))
def test_dynamic_retires_at_most_one_worker_a_second(limits, burst):
    """Load that ebbs comes back: a dynamic pool shrinks slowly."""
    pool = Pool(limits)
    pool.run(2.0)
    pool.arrive(burst)
    pool.run(3.0)
    pool.finish_all()
    pool.run(60.0)
    times = [at for at, action in pool.history if isinstance(action, Retire)]
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))


@SETTINGS
@given(limits_of(), st.sampled_from([0.001, 0.05, 1.0]))
def test_boots_that_always_fail_are_tried_ever_more_rarely(limits, boot_s):
    """After the first burst one worker tries at a time, and the pauses never get shorter."""
    pool = Pool(limits, boot_s=boot_s, boots_fail=True)
    pool.arrive(1)
    pool.run(120.0)
    failed_s = pool.memory.failed_s
    assert pool.memory.degraded
    assert failed_s > 0
    spawns = [(at, action.count) for at, action in pool.history if isinstance(action, Spawn)]
    # The first second may still belong to the first burst.
    probes = [(at, n) for at, n in spawns if at > 1001.0 + boot_s]
    assert all(count == 1 for _, count in probes)
    gaps = [b[0] - a[0] for a, b in pairwise(probes)]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(gaps))
    assert len(spawns) < 40


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_backoff_whenever_boots_fail_never_shrinks(pauses):
    """The pause after a failure is never shorter than the one before."""
    memory, now_s, last = Memory(), 0.0, 0.0
    for pause in pauses:
        now_s += pause
        memory = note_boot_failed(memory, now_s, started_s=now_s)
        delay = memory.retry_s - now_s
        assert last - 1e-9 <= delay <= 10.0 + 1e-9
        last = max(last, delay)
        now_s = memory.retry_s


@SETTINGS
@given(limits_of(ProcessManager.ONDEMAND), st.integers(1, 40))
def test_ondemand_without_requests_goes_to_zero_and_sleeps(limits, clients):
    """After the last request and the idle timeout no worker is left, and the master sleeps."""
    pool = Pool(limits)
    pool.arrive(clients)
    pool.run(5.0)
    pool.finish_all()
    pool.run(limits.process_idle_timeout_s * 2 + 1.0)
    assert pool.serving == 0
    assert pool.next_look_s is None
