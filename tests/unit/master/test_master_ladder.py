"""The ladder of time limits, driven by a hand-moved clock over a fake board."""

import logging
from types import SimpleNamespace

import pytest
from pool_options import make_options

from pyfpm.logs import Log
from pyfpm.master.acts import Acts
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.ladder import Ladder
from pyfpm.scoreboard import NOTICE_BYTES, SLOT_BYTES, Board, NoticeWriter, SlotWriter, Stage
from pyfpm.scoreboard.slot import Word

NS = 1_000_000_000
DUMP = """\
Current thread 0x00007f2b8d0b1040 (most recent call first):
  File "/srv/app.py", line 14 in stuck
"""


class Shared:
    def __init__(self):
        self.board = Board(memoryview(bytearray(8 * SLOT_BYTES)))
        self.notice = NoticeWriter(memoryview(bytearray(NOTICE_BYTES)))


class Scene:
    """A pool of hand-made workers; `done` is what the ladder did, in order."""

    def __init__(self, folder):
        self._folder = folder
        self.shared = Shared()
        self.workers = []
        self.done = []
        self.entries = []
        self.answers = []  # callbacks of stacks that were asked for
        self.resident = {}
        self.signals = 0  # of them, `done` has the first for each request
        self.now_s = 1000.0
        acts = Acts(
            collect=self._collect,
            interrupt=self._interrupt,
            poke=lambda worker: self.done.append(("poke", worker.pid)),
            end=self._end,
            resident_bytes=lambda pid: self.resident.get(pid, 0),
        )
        self.ladder = Ladder(self.shared, Log("shop"), self, acts)

    def write(self, entry):  # as the slow log
        self.done.append(("entry", entry.pid))
        self.entries.append(entry)

    def _collect(self, worker, then):
        self.done.append(("stacks", worker.pid))
        self.answers.append(then)

    def _interrupt(self, worker):
        self.signals += 1
        if self.signals == 1:
            self.done.append(("interrupt", worker.pid))

    def _end(self, worker, reason):
        worker.state = WorkerState.ENDING
        self.done.append((f"kill for {reason}", worker.pid))

    def answer(self, text=DUMP):
        """Let every worker that was asked tell its stacks."""
        answers, self.answers = self.answers, []
        for then in answers:
            then(text)

    def add(self, *lines):
        """Add a worker that is idle since now."""
        slot = len(self.workers)
        options = make_options(self._folder, "listen = /run/shop.sock", *lines)
        generation = SimpleNamespace(options=options)
        worker = WorkerHandle(slot + 10, slot, self.now_s - 1, generation)
        worker.state = WorkerState.SERVING
        worker.pid = 100 + slot
        worker.writer = SlotWriter(self.shared.board.slot(slot))
        self.workers.append(worker)
        self.enter(worker, Stage.IDLE)
        return worker

    def enter(self, worker, stage):
        worker.writer.enter(stage.code, int(self.now_s * NS))

    def begin(self, worker, uri="/report", at_s=None):
        self.signals = 0
        at_s = self.now_s if at_s is None else at_s
        worker.writer.begin_request(int(at_s * NS), f"GET\0\0\0{uri}".encode(), 0)

    def look(self, after_s=0.0):
        """Let time pass and look; what was done, and in how many seconds the next look is due."""
        self.now_s += after_s
        self.done.clear()
        next_s = self.ladder.look(self.workers, self.now_s)
        return self.done[:], None if next_s is None else round(next_s - self.now_s, 3)

    def look_for(self, seconds):
        """Look whenever a look is due for so long; everything that was done."""
        end_s, done = self.now_s + seconds, []
        after_s = 0.0
        while after_s is not None and self.now_s + after_s <= end_s:
            did, after_s = self.look(after_s)
            self.answer()
            done += did + [step for step in self.done if step not in did]
        self.now_s = end_s
        return done


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


NO_HUNG = "worker_hung_timeout = 0"
SLOW = "request_slowlog_timeout = 5s"
TERMINATE = "request_terminate_timeout = 30s"


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


# Workers that hang


HUNG = "worker_hung_timeout = 30s"


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


@pytest.fixture(autouse=True)
def _log_level(caplog):
    caplog.set_level(logging.DEBUG, logger="pyfpm")
