"""The ladder of time limits for requests, driven by a hand-moved clock over a fake board."""

import logging

import pytest
from ladder_scene import DUMP, NO_HUNG, NS, SLOW, TERMINATE, Scene

from pyfpm.master.handles import WorkerState
from pyfpm.scoreboard import Stage
from pyfpm.scoreboard.slot import Word


@pytest.fixture
def scene(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="pyfpm")
    return Scene(tmp_path)


# When to look


def test_without_limits_there_is_no_next_look(scene):
    """Nothing is set anywhere: the master does not wake for it."""
    scene.begin(scene.add(NO_HUNG))
    assert scene.look(1000) == ([], None)


def test_idle_worker_is_looked_at_after_the_shortest_limit(scene):
    """A request that starts right after the look cannot cross anything earlier."""
    scene.add(NO_HUNG, SLOW, TERMINATE)
    assert scene.look() == ([], 5.0)


def test_running_request_is_looked_at_when_it_crosses_its_next_limit(scene):
    """Not sooner, but at that moment."""
    worker = scene.add(NO_HUNG, SLOW, TERMINATE)
    scene.begin(worker)
    assert scene.look(3) == ([], 2.0)


def test_looks_are_never_closer_than_50_ms(scene):
    """A limit that is about to be crossed makes no spin."""
    worker = scene.add(NO_HUNG, SLOW)
    scene.begin(worker)
    assert scene.look(4.9999) == ([], 0.05)


def test_workers_of_two_generations_have_their_own_limits(scene):
    """A reload that shortens a limit does not shorten it for requests that run already."""
    old, new = scene.add(NO_HUNG), scene.add(NO_HUNG, SLOW)
    scene.begin(old)
    scene.begin(new)
    assert scene.look(6)[0] == [("stacks", new.pid)]


# The slow log


def test_slow_request_is_entered_once_with_its_stacks(scene):
    """The entry says which request, how long, and where it is stuck; the counter goes up."""
    worker = scene.add(NO_HUNG, SLOW)
    scene.begin(worker, "/report?year=2026")
    assert scene.look(5) == ([("stacks", worker.pid)], 0.05)
    scene.answer()
    (entry,) = scene.entries
    assert (entry.pid, entry.request) == (worker.pid, "GET /report?year=2026")
    assert entry.seconds == pytest.approx(5.0)
    assert "  stuck() /srv/app.py:14" in entry.stacks
    assert scene.shared.notice.current.slow_requests == 1
    assert scene.look(100)[0] == []


def test_next_request_of_the_worker_is_entered_too(scene):
    """Once a request, not once a worker."""
    worker = scene.add(NO_HUNG, SLOW)
    for _ in range(2):
        scene.begin(worker)
        assert scene.look_for(6) == [("stacks", worker.pid), ("entry", worker.pid)]
    assert scene.shared.notice.current.slow_requests == 2


def test_worker_that_does_not_tell_its_stacks_is_entered_without_them(scene):
    """The operator still learns of the request."""
    scene.begin(scene.add(NO_HUNG, SLOW))
    scene.look(5)
    scene.answer("")
    assert "did not answer" in scene.entries[0].stacks


def test_request_that_ended_while_its_stacks_were_taken_is_marked(scene):
    """They may be those of the next request."""
    worker = scene.add(NO_HUNG, SLOW)
    scene.begin(worker)
    scene.look(5)
    scene.now_s += 0.1
    scene.begin(worker, "/next")
    scene.answer()
    assert scene.entries[0].request == "GET /report"
    assert "the request ended while its stacks were taken" in scene.entries[0].stacks


def test_depth_of_the_entry_is_that_of_the_pool(scene):
    """request_slowlog_trace_depth."""
    scene.begin(scene.add(NO_HUNG, SLOW, "request_slowlog_trace_depth = 1"))
    scene.look(5)
    scene.answer(DUMP + '  File "/srv/app.py", line 1 in app\n')
    assert "1 older call left out" in scene.entries[0].stacks


# Ending a request


def test_overdue_request_is_witnessed_interrupted_and_after_the_grace_killed(scene, caplog):
    """All rungs in order, each with a line that says what and why."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    assert scene.look_for(40) == [
        ("stacks", worker.pid),
        ("entry", worker.pid),
        ("interrupt", worker.pid),
        ("kill for timeout", worker.pid),
    ]
    assert worker.leaves_for == "timeout"
    interrupted, killed = caplog.messages
    assert interrupted.startswith("child 100, GET /report: executing too slow (30.")
    assert interrupted.endswith(" s): interrupting")
    assert killed.startswith("child 100, GET /report: does not end (31.")
    assert killed.endswith(" s): killed")
    assert scene.shared.notice.current.terminated_requests == 1
    assert scene.shared.notice.current.slow_requests == 0


def test_signal_is_repeated_while_the_grace_lasts(scene):
    """Python may notice one only after the system call before which it came."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    scene.look_for(30.5)
    assert 3 <= scene.signals <= 5
    scene.look_for(10)
    assert 9 <= scene.signals <= 13
    assert worker.state is WorkerState.ENDING


def test_request_that_ends_within_the_grace_costs_no_worker(scene):
    """It was interrupted; whatever runs next starts at the first rung."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    assert scene.look_for(30.5)[-1] == ("interrupt", worker.pid)
    scene.begin(worker)
    assert scene.look_for(20) == []


def test_request_that_ends_while_its_stacks_are_taken_is_not_interrupted(scene):
    """The one that runs by then is another."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    assert scene.look(30)[0] == [("stacks", worker.pid)]
    scene.begin(worker)
    scene.answer()
    assert scene.look(0.05)[0] == []


def test_fresh_stacks_of_the_slow_log_are_not_taken_again(scene):
    """The two limits are close together: one entry is enough."""
    worker = scene.add(NO_HUNG, SLOW, "request_terminate_timeout = 5500ms")
    scene.begin(worker)
    assert scene.look_for(6) == [
        ("stacks", worker.pid),
        ("entry", worker.pid),
        ("interrupt", worker.pid),
    ]


def test_worker_that_takes_long_to_answer_is_asked_once(scene):
    """Waiting in vain for stacks puts the end off by one such wait, not by two."""
    worker = scene.add(NO_HUNG, SLOW, "request_terminate_timeout = 5s")
    scene.begin(worker)
    assert scene.look(5)[0] == [("stacks", worker.pid)]
    for _ in range(20):
        assert scene.look(0.05)[0] == []
    scene.answer("")
    assert scene.look(0.05)[0] == [("interrupt", worker.pid)]


def test_extended_request_is_ended_at_the_time_it_asked_for(scene):
    """pyfpm.extend_timeout, for this request alone."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    words = worker.writer.words
    words[Word.EXTENDED_UNTIL_NS] = int((scene.now_s + 100) * NS)
    words[Word.EXTENDED_REQUEST_NS] = words[Word.REQUEST_STARTED_NS]
    assert scene.look_for(99) == []
    assert ("interrupt", worker.pid) in scene.look_for(2)


def test_extension_of_an_earlier_request_does_not_count(scene):
    """The words stay in the slot; they are of a request that is over."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    words = worker.writer.words
    words[Word.EXTENDED_UNTIL_NS] = int((scene.now_s + 100) * NS)
    words[Word.EXTENDED_REQUEST_NS] = words[Word.REQUEST_STARTED_NS]
    scene.now_s += 1
    scene.begin(worker)
    assert ("interrupt", worker.pid) in scene.look_for(31)


def test_extension_after_the_interruption_saves_the_worker(scene):
    """The two crossed: the request goes on, so nobody is killed for the interruption."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    assert scene.look_for(30.5)[-1] == ("interrupt", worker.pid)
    words = worker.writer.words
    scene.signals = 0
    words[Word.EXTENDED_UNTIL_NS] = int((scene.now_s + 50) * NS)
    words[Word.EXTENDED_REQUEST_NS] = words[Word.REQUEST_STARTED_NS]
    assert scene.look_for(49) == []
    assert scene.look_for(2)[0] == ("interrupt", worker.pid)


def test_draining_worker_is_held_to_its_limits(scene):
    """Its last request may be the one that is stuck."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    worker.state = WorkerState.DRAINING
    assert ("interrupt", worker.pid) in scene.look_for(31)


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.READING, Stage.FINISHING, Stage.DRAINING])
def test_only_running_requests_have_limits(scene, stage):
    """After the response is complete nobody waits for it any more."""
    worker = scene.add(NO_HUNG, SLOW, TERMINATE)
    scene.begin(worker)
    scene.enter(worker, stage)
    assert scene.look(100)[0] == []


def test_worker_without_a_pid_or_on_its_way_out_is_left_alone(scene):
    """Nothing can be sent to the one, and the other has got its signal."""
    unborn, ending = scene.add(SLOW), scene.add(SLOW)
    unborn.pid = None
    ending.state = WorkerState.ENDING
    scene.begin(unborn)
    scene.begin(ending)
    assert scene.look(100) == ([], None)
