"""Stacks of real processes through the pipe: blocked, deaf, flooding, dying."""

import asyncio
import ctypes
import faulthandler
import os
import re
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from forked import Forked

from pyfpm.kernel.pidfd import open_child
from pyfpm.logs import Log
from pyfpm.master.acts import trace_worker
from pyfpm.master.handles import WorkerHandle
from pyfpm.master.rounds import Rounds
from pyfpm.master.stacks import StackPipe
from pyfpm.master.traces import parse_stacks, render_stacks
from pyfpm.messages import ReservedSignal
from pyfpm.scoreboard import SLOT_BYTES, Board, SlotWriter

DUMP = ReservedSignal.DUMP_STACKS
_NEXT_LINE_S = 0.2  # for the child to come from its word to what it is stuck in


def collect_from(function, *, timeout_s=1.0, before=None, together=1):
    """Collect the stacks of a child that runs `function(writer, tell)` once it told a byte."""

    async def main():
        pipe = StackPipe()
        with Forked(lambda _, tell: function(pipe.writer, tell)) as child:
            pipe.close_writer()
            pidfd = open_child(child.pid)
            try:
                assert await asyncio.to_thread(child.hear) == b"r"
                await asyncio.sleep(_NEXT_LINE_S)
                if before is not None:
                    before(child, pipe)
                asked = (pipe.collect(pidfd, timeout_s) for _ in range(together))
                return await asyncio.gather(*asked)
            finally:
                pipe.close()
                os.close(pidfd)

    answers = asyncio.run(asyncio.wait_for(main(), 10))
    assert len(set(answers)) == 1
    return answers[0]


def stuck_in_sleep():
    time.sleep(30)


def stuck_in_c():
    ctypes.PyDLL(None).sleep(30)  # keeps the GIL, and no Python handler can run


def stuck_in_loop():
    while True:
        pass


def stuck_in_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@pytest.mark.parametrize("stuck", [stuck_in_sleep, stuck_in_c, stuck_in_loop, stuck_in_lock])
def test_stacks_name_the_function_in_which_a_process_is_stuck(stuck):
    """Whatever it is blocked in, faulthandler answers from the signal handler."""

    def run(writer, tell):
        faulthandler.register(DUMP, file=writer)
        tell(b"r")
        stuck()

    threads = parse_stacks(collect_from(run))
    assert [thread.is_main for thread in threads] == [True]
    assert threads[0].calls[0].function == stuck.__name__
    assert f"{stuck.__name__}() {__file__}:" in render_stacks(threads, 1)


def test_main_thread_is_told_from_others():
    """The last one that faulthandler writes is the one that runs requests."""

    def run(writer, tell):
        faulthandler.register(DUMP, file=writer)
        for _ in range(3):
            threading.Thread(target=stuck_in_lock, daemon=True).start()
        tell(b"r")
        stuck_in_sleep()

    threads = parse_stacks(collect_from(run))
    assert len(threads) == 4
    (main,) = [thread for thread in threads if thread.is_main]
    assert main.calls[0].function == "stuck_in_sleep"


def test_process_that_does_not_answer_gives_nothing():
    """It has the signal blocked; who asks waits for the timeout and no longer."""

    def run(_, tell):
        signal.pthread_sigmask(signal.SIG_BLOCK, [DUMP])
        tell(b"r")
        time.sleep(30)

    assert collect_from(run, timeout_s=0.2) == ""


def test_stopped_process_gives_nothing():
    """SIGSTOP stops its handlers too."""

    def run(writer, tell):
        faulthandler.register(DUMP, file=writer)
        tell(b"r")
        time.sleep(30)

    stop = lambda child, _: os.kill(child.pid, signal.SIGSTOP)  # noqa: E731 - one use
    assert collect_from(run, timeout_s=0.2, before=stop) == ""


def test_what_stood_in_the_pipe_before_is_not_part_of_the_answer():
    """An application may send the signal itself; the last answer was then read by nobody."""

    def run(writer, tell):
        os.write(writer, b"stale\n" * 5000)
        faulthandler.register(DUMP, file=writer)
        tell(b"r")
        stuck_in_sleep()

    text = collect_from(run)
    assert "stale" not in text
    assert "stuck_in_sleep" in text


def test_who_asks_meanwhile_gets_the_same_answer():
    """One signal, one dump; a second one would mix into the first."""

    def run(writer, tell):
        faulthandler.register(DUMP, file=writer)
        tell(b"r")
        stuck_in_sleep()

    text = collect_from(run, together=3)
    assert text.count("most recent call first") == 1


@pytest.mark.parametrize(("size", "pause_s", "timeout_s"), [(4096, 0.0, 8.0), (1, 0.01, 0.3)])
def test_flooding_process_is_cut_off(size, pause_s, timeout_s):
    """Fast or slowly without end: bounded in size long before the time, or in time."""

    def run(writer, tell):
        signal.signal(DUMP, signal.SIG_IGN)
        os.set_blocking(writer, True)
        tell(b"r")
        while True:
            os.write(writer, b"x" * size)
            time.sleep(pause_s)

    assert 0 < len(collect_from(run, timeout_s=timeout_s)) <= 256 * 1024


def test_process_that_dies_meanwhile_gives_nothing():
    """No handler is registered: the default of the signal ends it."""

    def run(_, tell):
        tell(b"r")
        time.sleep(30)

    assert collect_from(run, timeout_s=5) == ""


def test_pipe_that_is_closed_meanwhile_ends_the_wait():
    """The worker was reaped while its stacks were waited for."""

    def run(_, tell):
        signal.signal(DUMP, signal.SIG_IGN)
        tell(b"r")
        time.sleep(30)

    def close_soon(_, pipe):
        asyncio.get_running_loop().call_later(0.05, pipe.close)

    started_s = time.monotonic()
    assert collect_from(run, timeout_s=8, before=close_soon) == ""
    assert time.monotonic() - started_s < 5


def test_writer_never_waits_for_a_reader():
    """A handler that blocks would hold a thread of the worker; what does not fit is lost."""

    async def main():
        pipe = StackPipe()
        assert os.write(pipe.writer, bytes(65536)) == 65536
        with pytest.raises(BlockingIOError):
            os.write(pipe.writer, bytes(65536))
        pipe.close_writer()
        pipe.close()

    asyncio.run(main())


def trace(*, ready):
    """Trace a worker in a request, whose handler is there once it is ready."""

    async def main():
        board = Board(memoryview(bytearray(SLOT_BYTES)))
        SlotWriter(board.slot(0)).begin_request(time.monotonic_ns(), b"GET\0\0\0/stuck", 0)
        worker = WorkerHandle(1, 0, 0.0, SimpleNamespace())
        worker.stacks = pipe = StackPipe()
        worker.was_ready = ready

        def run(_, tell):
            if ready:
                faulthandler.register(DUMP, file=pipe.writer)
            tell(b"r")
            stuck_in_sleep()

        with Forked(run) as child:
            pipe.close_writer()
            await asyncio.to_thread(child.hear)
            worker.pid, worker.pidfd = child.pid, open_child(child.pid)
            text = await trace_worker(worker, board)
            os.kill(child.pid, 0)
            assert child.hear(timeout_s=0.05) is None  # it lives
        worker.close()
        return text.replace(str(child.pid), "PID").splitlines()

    return asyncio.run(asyncio.wait_for(main(), 10))


def test_trace_shows_stage_request_and_stacks():
    """`pyfpm trace` in one block for each worker."""
    head, title, *_, last = trace(ready=True)
    assert re.fullmatch(r"pid PID, running, GET /stuck, 0\.\d{3} s", head)
    assert title.startswith("main thread 0x")
    assert last.startswith("  stuck_in_sleep() ")


def test_worker_that_is_not_ready_is_not_asked():
    """It has no handler yet, and the signal would end it."""
    assert trace(ready=False)[1:] == ["  (no answer)"]


def test_rounds_go_on_after_a_look_that_failed():
    """One failure must not leave a pool without limits."""

    async def main():
        looks = []
        done = asyncio.Event()

        def look(now_s):
            looks.append(now_s)
            if len(looks) == 1:
                raise RuntimeError("once")
            if len(looks) < 4:
                return now_s + 0.01
            done.set()
            return None

        rounds = Rounds(look, Log("shop"))
        for _ in range(5):
            rounds.soon()
        await asyncio.wait_for(done.wait(), 5)
        rounds.close()
        return looks

    first, second, *_ = looks = asyncio.run(main())
    assert len(looks) == 4
    assert second - first >= 0.9
