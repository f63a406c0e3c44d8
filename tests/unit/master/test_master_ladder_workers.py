"""Workers under the ladder that hang, grow too large, or write what is not true."""

import logging

import pytest
from ladder_scene import HUNG, NO_HUNG, NS, SLOW, TERMINATE, Scene

from pyfpm.master.handles import WorkerState
from pyfpm.scoreboard import SLOT_BYTES, Stage
from pyfpm.scoreboard.slot import Word


@pytest.fixture
def scene(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="pyfpm")
    return Scene(tmp_path)


# Workers that hang


def test_idle_worker_that_does_not_react_to_a_poke_is_killed(scene, caplog):
    """Poked after the time, and given the same time again; its stacks are in the log."""
    worker = scene.add(HUNG)
    assert scene.look() == ([], 30.0)
    assert scene.look(30) == ([("poke", worker.pid)], 30.0)
    assert scene.look(30) == ([("stacks", worker.pid)], 0.05)
    scene.answer()
    assert scene.look(0.1)[0] == [("kill for hung", worker.pid)]
    assert worker.leaves_for == "hung"
    assert "child 100 hangs: no reaction for 30 s: killed" in caplog.text
    assert "stuck() /srv/app.py:14" in caplog.text


def test_idle_worker_that_reacts_lives(scene):
    """Its new STAGE_SINCE_NS is the answer."""
    worker = scene.add(HUNG)
    for _ in range(5):
        assert scene.look(30)[0] == [("poke", worker.pid)]
        scene.now_s += 0.01
        scene.enter(worker, Stage.IDLE)
        assert scene.look(0.5)[0] == []


def test_worker_that_moves_while_its_stacks_are_taken_lives(scene):
    """It was slow, and it is not hanging; if it hangs later, it is asked again."""
    worker = scene.add(HUNG)
    for _ in range(2):
        assert scene.look(30)[0] == [("poke", worker.pid)]
        assert scene.look(30)[0] == [("stacks", worker.pid)]
        scene.enter(worker, Stage.IDLE)
        scene.answer()
        assert scene.look(0.1)[0] == []


@pytest.mark.parametrize("stage", [Stage.RUNNING, Stage.FINISHING])
def test_busy_worker_does_not_count_as_hanging(scene, stage):
    """Requests have limits of their own, and this pool has set none."""
    worker = scene.add(HUNG)
    scene.begin(worker)
    scene.enter(worker, stage)
    assert scene.look_for(1000) == []


def test_master_that_stood_still_kills_nobody(scene):
    """A container was paused: nobody could have reacted, so everybody gets the time again."""
    worker = scene.add(HUNG)
    assert scene.look(30)[0] == [("poke", worker.pid)]
    assert scene.look(3600) == ([("poke", worker.pid)], 30.0)
    assert scene.look(30)[0] == [("stacks", worker.pid)]


def test_worker_with_absurd_times_is_judged_by_the_masters_clock(scene):
    """A stage since the end of time neither raises nor hides a worker that hangs."""
    worker = scene.add(HUNG)
    worker.writer.words[Word.STAGE_SINCE_NS] = 2**64 - 1
    assert scene.look_for(29) == []
    assert scene.look_for(32)[0] == ("poke", worker.pid)


# Memory


def test_worker_above_the_hard_memory_limit_is_killed_at_the_next_look(scene, caplog):
    """Twice a second, in the middle of a request, with both numbers and the request."""
    worker = scene.add(NO_HUNG, "pm.max_memory_hard = 100M")
    scene.resident[worker.pid] = 100 << 20
    assert scene.look() == ([], 0.5)
    scene.begin(worker, "/big")
    scene.resident[worker.pid] = 101 << 20
    assert scene.look(0.5)[0] == [("kill for max_memory", worker.pid)]
    assert worker.leaves_for == "max_memory"
    assert len(caplog.messages) == 1
    assert caplog.messages[0] == (
        "child 100, GET /big: 101.0 MiB of resident memory are more than pm.max_memory_hard "
        "(100.0 MiB): killed"
    )


def test_booting_worker_has_the_hard_memory_limit_too(scene, caplog):
    """An import can eat the machine as well as a request."""
    worker = scene.add(NO_HUNG, "pm.max_memory_hard = 1M")
    worker.state = WorkerState.BOOTING
    scene.resident[worker.pid] = 2 << 20
    assert scene.look()[0] == [("kill for max_memory", worker.pid)]
    assert caplog.messages[0].startswith("child 100: 2.0 MiB")


# What a hostile worker may write


@pytest.mark.parametrize("start_ns", [0, 1, 2**64 - 1, 5000 * NS])
def test_absurd_start_counts_from_when_the_master_saw_it(scene, start_ns):
    """A request cannot have begun before its worker or in the future."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker)
    worker.writer.words[Word.REQUEST_STARTED_NS] = start_ns
    assert scene.look_for(29) == []
    assert ("interrupt", worker.pid) in scene.look_for(2)
    assert 29 < scene.entries[0].seconds < 32


def test_slot_that_is_being_written_for_ever_is_read_all_the_same(scene):
    """An odd sequence number costs some tries and gives a copy."""
    worker = scene.add(NO_HUNG, SLOW)
    scene.begin(worker)
    worker.writer.words[Word.SEQUENCE] += 1
    assert scene.look(5)[0] == [("stacks", worker.pid)]


def test_slot_full_of_rubbish_raises_nothing(scene):
    """Whatever it says, it is this worker's matter alone."""
    worker, other = (scene.add(HUNG, SLOW, TERMINATE) for _ in range(2))
    for byte in (0x00, 0x57, 0xFF):  # 0x57: the letter of a running worker
        scene.shared.board.slot(worker.slot)[:] = bytes([byte]) * SLOT_BYTES
        scene.enter(other, Stage.IDLE)
        assert ("kill for hung", other.pid) not in scene.look_for(25)


def test_request_line_cannot_forge_a_line_of_the_log(scene, caplog):
    """A line break in a URI stays in its line, and a long one does not hide what follows."""
    worker = scene.add(NO_HUNG, TERMINATE)
    scene.begin(worker, "/\n[pool bank] child 1" + "x" * 1900)
    scene.look_for(31)
    assert r"GET /\n[pool bank]" in caplog.messages[0]
    assert len(caplog.messages[0]) < 700


def test_worker_that_makes_up_slow_requests_fills_no_log(scene, caplog):
    """Each look finds another request that is slow already; those of the first have entries."""
    workers = [scene.add(NO_HUNG, SLOW) for _ in range(4)]
    scene.now_s += 100
    for worker in workers:
        scene.begin(worker, at_s=scene.now_s - 50)
    scene.look()
    scene.answer()
    assert len(scene.entries) == 4
    for number in range(3000):
        scene.begin(workers[0], at_s=scene.now_s - 40 + number / 1000)
        scene.look(0.2)
        scene.answer("Thread 0x01 (most recent call first):\n" + "x\n" * 10_000)
    assert 100 < len(scene.entries) < 4 + 200 + 600
    assert 1 <= sum("without an entry" in text for text in caplog.messages) <= 61


def test_workers_that_have_ended_are_forgotten(scene):
    """Stacks that come later are dropped, and nothing piles up."""
    worker = scene.add(HUNG, SLOW)
    scene.begin(worker)
    scene.look(5)
    scene.workers.clear()
    assert scene.look(1) == ([], None)
    scene.answer()
    assert scene.entries == []
    ladder = scene.ladder
    assert [*ladder._climbs, *ladder._collecting, *ladder._vigil._watches] == []
