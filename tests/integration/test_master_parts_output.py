"""What workers print: line by line, apart, bounded, and never glued."""

import asyncio
import os

import pytest

from pyfpm.logs import Log
from pyfpm.master.flow import Flow
from pyfpm.master.output import OutputPipe

LIMIT = 50


def collect(write, *, limit=LIMIT, drain=False):
    """Run a loop while `write(descriptor)` prints, and return the lines that were emitted."""
    lines = []

    async def main():
        pipe = OutputPipe(
            "stderr", limit, lambda stream, line: lines.append(line), None, Flow(Log())
        )
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
    return lines


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


def test_drain_does_not_wait_for_children_that_keep_the_pipe():
    """The worker has ended, a program that it started has not."""
    lines = []

    async def main():
        pipe = OutputPipe(
            "stdout", LIMIT, lambda stream, line: lines.append((stream, line)), None, Flow(Log())
        )
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


def test_two_streams_are_kept_apart():
    """Half a line of one is never glued to half a line of another."""
    lines = []

    async def main():
        pipes = [
            OutputPipe(
                name, LIMIT, lambda stream, line: lines.append((stream, line)), None, Flow(Log())
            )
            for name in ("stdout", "stderr")
        ]
        for piece in (b"a", b"b\n"):
            for pipe in pipes:
                os.write(pipe.writer, pipe._stream[-1:].encode() + piece)
                pipe.drain()
        for pipe in pipes:
            pipe.close_writer()
            pipe.close()

    asyncio.run(main())
    assert lines == [("stdout", "tatb"), ("stderr", "rarb")]


def test_pipe_belongs_to_the_user_of_the_pool(as_root):
    """An application may open /dev/stdout by its path, which needs permission on the pipe."""

    async def main():
        pipe = OutputPipe("stdout", LIMIT, print, (12345, 23456), Flow(Log()))
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
