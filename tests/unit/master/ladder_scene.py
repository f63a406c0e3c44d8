"""A pool of hand-made workers under the ladder, over a fake board and with a hand-moved clock."""

from types import SimpleNamespace

from pool_options import make_options

from pyfpm.logs import Log
from pyfpm.master.acts import Acts
from pyfpm.master.handles import WorkerHandle, WorkerState
from pyfpm.master.ladder import Ladder
from pyfpm.scoreboard import NOTICE_BYTES, SLOT_BYTES, Board, NoticeWriter, SlotWriter, Stage

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


NO_HUNG = "worker_hung_timeout = 0"
SLOW = "request_slowlog_timeout = 5s"
TERMINATE = "request_terminate_timeout = 30s"
HUNG = "worker_hung_timeout = 30s"
