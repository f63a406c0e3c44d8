"""What workers print: line by line, apart, bounded, and never glued."""

import asyncio
import logging
import math
import os
import time

import pytest

from pyfpm.kernel.descriptors import unread_bytes
from pyfpm.logs import Log
from pyfpm.logs.formats import TextFormatter
from pyfpm.master.flow import (
    ALL_BURST_BYTES,
    ALL_BYTES_PER_S,
    BYTES_PER_S,
    LAST_WORDS_MOST,
    Flow,
)
from pyfpm.master.output import _PAUSE_S, OutputPipe, longest_piece
from pyfpm.master.turns import Turns

LIMIT = 50


def plenty():
    """The output of one pool, with no other beside it."""
    return Flow(Log(), Turns(ALL_BYTES_PER_S, ALL_BURST_BYTES).join(BYTES_PER_S))


def into(lines):
    """What takes what a pipe emits, and puts each line to these."""
    return lambda stream, text: lines.extend((stream, line) for line in text.split("\n"))


def texts(lines):
    return [line for _, line in lines]


def collect(write, *, limit=LIMIT, drain=False):
    """Run a loop while `write(descriptor)` prints, and return the lines that were emitted."""
    lines = []

    async def main():
        pipe = OutputPipe("stderr", limit, into(lines), None, plenty())
        loop = asyncio.get_running_loop()

        def print_all():
            write(pipe.writer)
            if not drain:
                pipe.close_writer()

        if drain:
            print_all()
            pipe.drain()
            pipe.close_writer()
            return pipe.close()
        await loop.run_in_executor(None, print_all)
        # Nobody is told of a pipe's end: ASYNC110 knows no better way either.
        while pipe._open:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return None

    asyncio.run(asyncio.wait_for(main(), 10))
    return texts(lines)


def writing(*pieces):
    def write(descriptor):
        for piece in pieces:
            os.write(descriptor, piece)

    return write


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\ntw", b"o\n"], ["one", "two"]),
        ([b"half"], ["half"]),
        ([b"one\nhalf"], ["one", "half"]),
        ([b"\n\n"], ["", ""]),
        ([], []),
        (["é😀\n".encode()], ["é😀"]),
        ([b"caf\xe9\n"], ["caf\\xe9"]),
        ([b"a\x1b[2J\0\r\n"], ["a\x1b[2J\0\r"]),
    ],
)
def test_lines_are_emitted_as_they_were_printed(pieces, lines, drain):
    """Pieces are joined, the last half line is not lost, bytes that are no text are shown."""
    assert collect(writing(*pieces), drain=drain) == lines


@pytest.mark.parametrize("length", [LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT, 3 * LIMIT + 7])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_long_lines_come_in_pieces_that_lose_nothing(length, end):
    """A worker that prints a megabyte without a line break is shown, in bounded lines."""
    text = b"".join(b"%d" % (number % 10) for number in range(length))
    lines = collect(writing(text[: length // 2], text[length // 2 :] + end))
    assert "".join(lines) == text.decode()
    assert max(map(len, lines)) <= LIMIT


@pytest.mark.parametrize("character", ["é", "€", "😀"])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_pieces_of_a_long_line_cut_no_character(character, end):
    """Half a character would be shown as bytes that were never printed."""
    text = "x" + character * 3 * LIMIT
    assert "".join(collect(writing(text.encode() + end))) == text


def test_long_bytes_that_are_no_text_are_shown_whole():
    """Continuation bytes without a beginning have no border to cut at."""
    lines = collect(writing(b"\x80" * 3 * LIMIT + b"\n"))
    assert "".join(lines) == "\\x80" * 3 * LIMIT


@pytest.mark.parametrize("log_limit", [512, 1024, 100_000])
@pytest.mark.parametrize("pool", ["a", "p" * 63])
def test_log_shows_a_long_line_of_a_worker_whole(log_limit, pool):
    """Continued on the next lines, each within log_limit."""
    text = "".join(f"<{number}>" for number in range(20_000))
    pieces = collect(
        writing(*[text[i : i + 9000].encode() for i in range(0, len(text), 9000)]),
        limit=longest_piece(log_limit),
    )
    formatter = TextFormatter(log_limit)
    shown = ""
    for piece in pieces:
        record = logging.LogRecord("pyfpm", logging.WARNING, "", 0, "%s", (piece,), None)
        record.pool, record.event = pool, "output"
        for line in formatter.format(record).splitlines():
            assert len(line) <= log_limit
            shown += line.partition(f"[pool {pool}] ")[2]
    assert shown == text


def test_flood_is_taken_in_order_while_the_writer_waits():
    """A megabyte through a pipe of 64 KiB, beyond the budget: nothing is dropped, all waits."""
    count = 20_000

    def flood(descriptor):
        with os.fdopen(os.dup(descriptor), "w") as file:
            for number in range(count):
                file.write(f"line {number} of a worker that floods its pipe\n")

    lines = collect(flood, limit=1024)
    assert len(lines) == count
    assert lines[-1].startswith(f"line {count - 1} ")


@pytest.mark.parametrize("lines", [1, 2, 500])
def test_what_was_printed_together_is_emitted_together(lines):
    """A write of the log costs more than a hundred lines of it, so each write takes many."""
    said = []
    text = "".join(f"line {number}\n" for number in range(lines))

    async def main():
        pipe = OutputPipe("stdout", LIMIT, lambda _, text: said.append(text), None, plenty())
        os.write(pipe.writer, text.encode())
        pipe.drain()
        pipe.close_writer()
        pipe.close()

    asyncio.run(main())
    assert len(said) == lines // 128 + 1
    assert "\n".join(said) + "\n" == text


def test_line_that_is_too_long_does_not_part_those_beside_it():
    """It alone is cut; what stands before and after it is still written at once."""
    said = []
    before, long, after = ["a"] * 20, "x" * (LIMIT + 1), ["b"] * 20

    async def main():
        pipe = OutputPipe("stdout", LIMIT, lambda _, text: said.append(text), None, plenty())
        os.write(pipe.writer, "\n".join([*before, long, *after, ""]).encode())
        pipe.drain()
        pipe.close_writer()
        pipe.close()

    asyncio.run(main())
    assert said == ["\n".join(before), long[:LIMIT], "\n".join(["x", *after])]


def test_whoever_prints_again_and_again_is_heard_a_few_times_with_much():
    """To look for each line would cost many times what the line does; none comes late for it."""
    said, begun_s = [], time.monotonic()

    async def main():
        pipe = OutputPipe("stdout", LIMIT, lambda _, text: said.append(text), None, plenty())

        def print_all():
            for number in range(1000):
                os.write(pipe.writer, b"line %d\n" % number)
                time.sleep(0.0002)

        await asyncio.get_running_loop().run_in_executor(None, print_all)
        pipe.drain()
        pipe.close_writer()
        pipe.close()

    asyncio.run(main())
    assert "\n".join(said).split("\n") == [f"line {number}" for number in range(1000)]
    # One look for each pause, and one for each time that nothing came for longer than two.
    assert len(said) < 3 + (time.monotonic() - begun_s) / _PAUSE_S * 1.5


def test_what_is_printed_in_a_pause_and_then_the_end_are_both_heard():
    """The pipe is not watched meanwhile; the process's end is noticed after it."""
    lines = []

    async def main():
        pipe = OutputPipe("stdout", LIMIT, into(lines), None, plenty())
        async with asyncio.timeout(10):
            while pipe._pause is None:
                os.write(pipe.writer, b"again\n")
                await asyncio.sleep(0.001)
            os.write(pipe.writer, b"in the pause\nhalf a line")
            pipe.close_writer()
            while pipe._open:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.001)

    asyncio.run(main())
    assert texts(lines)[-3:] == ["again", "in the pause", "half a line"]


def test_pipe_that_is_closed_in_a_pause_is_looked_at_no_more():
    """Its descriptor is another file's by then."""

    async def main():
        pipe = OutputPipe("stdout", LIMIT, into([]), None, plenty())
        async with asyncio.timeout(10):
            while pipe._pause is None:
                os.write(pipe.writer, b"again\n")
                await asyncio.sleep(0.001)
        timer = pipe._pause
        pipe.close_writer()
        pipe.close()
        assert timer.cancelled()

    asyncio.run(main())


def test_drain_does_not_wait_for_children_that_keep_the_pipe():
    """The worker has ended, a program that it started has not."""
    lines = []

    async def main():
        pipe = OutputPipe("stdout", LIMIT, into(lines), None, plenty())
        os.write(pipe.writer, b"last words\nand ha")
        pipe.drain()
        assert lines == [("stdout", "last words")]
        pipe.close()
        pipe.close()
        pipe.drain()
        with pytest.raises(BrokenPipeError):
            os.write(pipe.writer, b"nobody listens")
        pipe.close_writer()

    asyncio.run(main())
    assert lines == [("stdout", "last words"), ("stdout", "and ha")]


def dry(flow):
    """Use the budget up, for some ten seconds."""
    flow.spend(10 * BYTES_PER_S)
    return flow


TRACEBACK = [f"  frame {number}" for number in range(100)] + ["ValueError: the reason"]


@pytest.mark.parametrize("is_last_line_whole", [True, False])
def test_last_words_of_a_process_that_printed_too_much_are_kept(is_last_line_whole):
    """They often are the traceback that explains its end; they come when there is budget again."""
    lines = []
    flow = plenty()

    async def main():
        pipe = OutputPipe("stderr", LIMIT, into(lines), None, flow)
        dry(flow)
        text = "noise\n" * 9000 + "\n".join(TRACEBACK) + "\n" * is_last_line_whole
        os.write(pipe.writer, text.encode())
        pipe.close_writer()
        await asyncio.sleep(0.05)
        pipe.drain()
        pipe.close()
        assert lines == []
        flow.share.pay(-10 * BYTES_PER_S)
        async with asyncio.timeout(10):
            while flow.last_words:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert texts(lines)[-len(TRACEBACK) :] == TRACEBACK
    assert 0 < texts(lines).count("noise") < 9000 / 4


def test_last_words_are_bounded_in_number():
    """Workers that print and die as fast as they are replaced fill no memory."""
    flow = plenty()

    async def main():
        pipes = []
        for _ in range(LAST_WORDS_MOST + 5):
            pipes.append(OutputPipe("stderr", LIMIT, lambda *_: None, None, flow))
            os.write(pipes[-1].writer, b"x" * 60_000)
            pipes[-1].close_writer()
        dry(flow)
        for pipe in pipes:
            pipe.drain()
            pipe.close()

    asyncio.run(main())
    assert flow.last_words == LAST_WORDS_MOST


def test_worker_that_ends_with_a_long_text_loses_nothing_of_it():
    """A long traceback, of a pool with budget, is more than is written at once."""
    text = b"".join(b"line %d of a long traceback\n" % number for number in range(2000))
    lines = []

    async def main():
        flow = plenty()
        pipe = OutputPipe("stderr", LIMIT, into(lines), None, flow)
        os.write(pipe.writer, text)
        pipe.close_writer()
        pipe.drain()
        pipe.close()
        async with asyncio.timeout(10):
            while flow.last_words:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert texts(lines) == text.decode().splitlines()


@pytest.mark.parametrize(
    "piece",
    [
        (b"\x0c" * 1000 + b"\n") * 65,
        b"\x0c" * 65_000,
        ("\u2028".encode() * 300 + b"\n") * 70,
        b"x" * 65_000,
        b"\n" * 65_000,
    ],
)
@pytest.mark.parametrize("has_ended", [False, True])
def test_bite_costs_the_other_pools_a_moment_whatever_is_printed(piece, has_ended):
    """What the log takes for an end of a line is no way to use up the budget of all."""
    clock = lambda: 1000.0  # noqa: E731
    turns = Turns(ALL_BYTES_PER_S, ALL_BURST_BYTES, clock, lambda delay_s, call: None)
    flow = Flow(Log(), turns.join(BYTES_PER_S), clock)

    async def main():
        pipe = OutputPipe("stdout", 4032, lambda *_: None, None, flow)
        os.write(pipe.writer, piece)
        pipe.close_writer()
        if has_ended:
            pipe.drain()
            pipe.close()
        for _ in range(100):
            if turns.left > 0:
                pipe.take_turn()
        pipe.close()

    asyncio.run(main())
    assert -ALL_BURST_BYTES / 4 <= turns.left <= ALL_BURST_BYTES - 65_000


@pytest.mark.parametrize("is_last_line_whole", [True, False])
@pytest.mark.parametrize("processes", [1, 20])
def test_last_words_that_wait_for_their_turn_are_written_at_the_end(processes, is_last_line_whole):
    """The pool ends before there is budget: tracebacks are there, and all lines are accounted for.

    Those that are not written are counted, each once.
    """
    flow, found, dropped = plenty(), {}, []
    flow.drop = lambda size, lines=1: dropped.append(lines)
    text = "noise\n" * 5000 + "\n".join(TRACEBACK) + "\n" * is_last_line_whole

    async def main():
        dry(flow)
        for number in range(processes):
            lines = found[number] = []
            for stream in ("stdout", "stderr"):
                pipe = OutputPipe(stream, LIMIT, into(lines), None, flow)
                os.write(pipe.writer, text.encode())
                pipe.close_writer()
                pipe.drain()
                pipe.close()
        assert not any(found.values())
        assert flow.last_words == 2 * processes
        flow.finish()
        assert (flow.last_words, flow.share.has_waiting) == (0, False)

    asyncio.run(main())
    for lines in found.values():
        errors = [line for name, line in lines if name == "stderr"]
        assert errors[-20:] == TRACEBACK[-20:]
    written = sum(map(len, found.values()))
    assert written + sum(dropped) == processes * 2 * (5000 + len(TRACEBACK))


def print_into_flood(size_bytes):
    """Write so much into a pipe of a pool that is flooded; return how many lines were dropped."""
    flow = plenty()
    dropped = []
    flow.drop = lambda size, lines=1: dropped.append(lines)

    async def main():
        flow.share.waiting_since_s = -math.inf
        pipe = OutputPipe("stdout", LIMIT, lambda *_: None, None, flow)
        os.write(pipe.writer, b"a line of the flood\n" * (size_bytes // 20))
        async with asyncio.timeout(10):
            while unread_bytes(pipe._reader) or b"\n" in pipe._rest:
                flow.share.waiting_since_s = -math.inf
                await asyncio.sleep(0.001)
        pipe.close_writer()
        pipe.close()

    asyncio.run(main())
    return sum(dropped)


def test_full_pipe_of_a_flood_is_emptied_and_one_that_is_not_loses_nothing():
    """Whoever waits in a write is let go on; a traceback of another worker waits and is written."""
    assert print_into_flood(60_000) > 2000
    assert print_into_flood(20_000) == 0


def test_two_streams_are_kept_apart():
    """Half a line of one is never glued to half a line of another."""
    lines = []

    async def main():
        pipes = [
            OutputPipe(name, LIMIT, into(lines), None, plenty()) for name in ("stdout", "stderr")
        ]
        for piece in (b"a", b"b\n"):
            for pipe in pipes:
                os.write(pipe.writer, pipe.stream[-1:].encode() + piece)
                pipe.drain()
        for pipe in pipes:
            pipe.close_writer()
            pipe.close()

    asyncio.run(main())
    assert lines == [("stdout", "tatb"), ("stderr", "rarb")]


def test_pipe_belongs_to_the_user_of_the_pool(as_root):
    """An application may open /dev/stdout by its path, which needs permission on the pipe."""

    async def main():
        pipe = OutputPipe("stdout", LIMIT, print, (12345, 23456), plenty())
        found = os.fstat(pipe.writer)
        assert (found.st_uid, found.st_gid) == (12345, 23456)
        pipe.close_writer()
        pipe.close()

    asyncio.run(main())


def test_no_descriptor_is_left_after_the_end():
    """Two pipes a worker, thousands of workers a day."""
    before = len(os.listdir("/proc/self/fd"))
    collect(writing(b"x\n"))
    assert len(os.listdir("/proc/self/fd")) == before
