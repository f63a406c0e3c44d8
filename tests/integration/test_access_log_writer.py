"""The worker's side of the access log on real files, pipes and full disks."""

import contextlib
import os
import select
import socket
import subprocess
import time
from types import SimpleNamespace

import pytest

from pyfpm.messages import ListenerPlan
from pyfpm.runtime.access_log import AccessLog

ANSWER = SimpleNamespace(status=200, body_bytes=2, head=b"", fd=-1)
GET = {"REQUEST_METHOD": "GET", "PATH_INFO": "/a", "QUERY_STRING": ""}


class Writer:
    """An access log on `descriptor`; what it says of lost lines is in `lost`."""

    def __init__(self, descriptor, text="%m %r %s", suppressed=(), listeners=()):
        self.lost = []
        document = SimpleNamespace(
            access_format=text,
            access_suppressed=suppressed,
            pool="shop",
            master_pid=os.getppid(),
            listeners=listeners,
        )
        self.log = AccessLog(descriptor, document, lambda *words: self.lost.append(words))

    def write(self, environ=GET, answer=ANSWER):
        now_ns = time.monotonic_ns()
        self.log.begin()
        self.log.write(environ, answer, now_ns - 1_000_000, now_ns)


def append(path):
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK)


@pytest.fixture
def pipe():
    """The reading end, and a writing end that does not block."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def fill(writer):
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)


def drain(reader):
    while select.select([reader], [], [], 0)[0]:
        os.read(reader, 65536)


def test_new_file_takes_the_lines_from_then_on(tmp_path):
    """After a rotation; the number of the descriptor stays, and the old file is let go."""
    writer = Writer(append(tmp_path / "log"))
    writer.write()
    (tmp_path / "log").rename(tmp_path / "log.1")
    writer.write({**GET, "PATH_INFO": "/b"})
    count = len(os.listdir("/proc/self/fd"))
    writer.log.switch(append(tmp_path / "log"))
    assert len(os.listdir("/proc/self/fd")) == count
    writer.write({**GET, "PATH_INFO": "/c"})
    assert (tmp_path / "log.1").read_text() == "GET /a 200\nGET /b 200\n"
    assert (tmp_path / "log").read_text() == "GET /c 200\n"
    assert writer.lost == []


@pytest.mark.parametrize(
    ("changes", "status", "is_written"),
    [
        ({}, 200, False),
        ({}, 299, False),
        ({"REQUEST_METHOD": "HEAD"}, 204, False),
        ({"CONTENT_LENGTH": "0"}, 200, False),
        ({"QUERY_STRING": "x"}, 200, True),
        ({"REQUEST_METHOD": "POST"}, 200, True),
        ({"CONTENT_LENGTH": "1"}, 200, True),
        ({"PATH_INFO": "/ping/"}, 200, True),
        ({"REQUEST_URI": "/other"}, 200, True),
        ({}, 300, True),
        ({}, 500, True),
        ({}, 0, True),
    ],
)
def test_only_what_a_health_check_asks_is_suppressed(tmp_path, changes, status, is_written):
    """PHP-FPM's rule: GET or HEAD, no query, no body, 200 to 299, exactly this path."""
    writer = Writer(append(tmp_path / "log"), suppressed=("/ping", "/other2"))
    answer = SimpleNamespace(status=status, body_bytes=2, head=b"", fd=-1)
    writer.write({**GET, "PATH_INFO": "/ping", **changes}, answer)
    assert bool((tmp_path / "log").read_text()) is is_written


def test_long_line_is_cut_at_16_kib_in_a_file_and_at_a_page_in_a_pipe(tmp_path, pipe):
    """A pipe keeps no longer writes whole; the status after the cut value is still there."""
    environ = {**GET, "REQUEST_URI": "/" + "a" * 100_000}
    Writer(append(tmp_path / "log"), "%r %s").write(environ)
    line = (tmp_path / "log").read_text()
    assert 15_000 < len(line) <= 16_384
    assert line.endswith("a... 200\n")
    reader, writer = pipe
    Writer(os.dup(writer), "%r %s").write(environ)
    data = os.read(reader, 100_000)
    assert 3_000 < len(data) <= 4_096
    assert data.endswith(b"a... 200\n")


def test_longest_line_follows_the_kind_of_file_after_a_rotation(tmp_path, pipe):
    """What was a file may be a pipe now."""
    environ = {**GET, "REQUEST_URI": "/" + "a" * 100_000}
    writer = Writer(append(tmp_path / "log"))
    writer.write(environ)
    writer.log.switch(os.dup(pipe[1]))
    writer.write(environ)
    assert len(os.read(pipe[0], 100_000)) <= 4_096


def test_pipe_that_nobody_empties_loses_lines_and_never_blocks(pipe):
    """Whole lines are lost, one complaint counts them, and it works again after a reader came."""
    reader, descriptor = pipe
    writer = Writer(os.dup(descriptor))
    fill(descriptor)
    for _ in range(5):
        writer.write()
    assert writer.lost == [(1, "whoever reads it is too slow")]
    drain(reader)
    writer.write()
    assert os.read(reader, 100) == b"GET /a 200\n"


def test_pipe_in_blocking_mode_is_looked_at_before_each_write(pipe):
    """The master's output may be a pipe that others share, whose mode is not ours to change."""
    reader, descriptor = pipe
    fill(descriptor)
    os.set_blocking(descriptor, True)
    writer = Writer(os.dup(descriptor))
    writer.write()
    assert writer.lost == [(1, "whoever reads it is too slow")]
    drain(reader)
    writer.write()
    assert os.read(reader, 100) == b"GET /a 200\n"
    assert os.get_blocking(descriptor)


def test_pipe_without_a_reader_costs_lines_alone():
    """EPIPE is no reason to end; SIGPIPE is ignored in workers."""
    reader, descriptor = os.pipe()
    os.close(reader)
    writer = Writer(descriptor)
    writer.write()
    writer.log.close()
    assert writer.lost == [(1, "Broken pipe")]


def test_full_disk_costs_lines_and_one_complaint_a_minute():
    """/dev/full answers every write with ENOSPC."""
    writer = Writer(os.open("/dev/full", os.O_WRONLY | os.O_APPEND))
    for _ in range(1000):
        writer.write()
    assert writer.lost == [(1, "No space left on device")]


def test_next_complaint_counts_what_was_lost_meanwhile():
    """A minute later."""
    writer = Writer(os.open("/dev/full", os.O_WRONLY | os.O_APPEND))
    for _ in range(10):
        writer.write()
    writer.log._next_complaint_ns = 0  # the minute is over
    writer.write()
    assert writer.lost == [(1, "No space left on device"), (10, "No space left on device")]


def test_half_a_line_does_not_run_into_the_next(small_disk):
    """A disk that is full within a line keeps the half; what is written later begins anew."""
    path = small_disk / "log"
    writer = Writer(append(path))
    environ = {**GET, "REQUEST_URI": "/" + "a" * 15_000}
    while not writer.lost:
        writer.write(environ)
    filler = small_disk / "filler"
    filler.unlink()
    writer.write()
    assert path.read_text().endswith("a\nGET /a 200\n")
    assert writer.lost == [(1, "the disk is full")]


@pytest.fixture
def small_disk(as_root, tmp_path):
    """A tmpfs with room for a few lines; removing `filler` makes more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=128k,mode=0755"]
    made = subprocess.run(["mount", *options, "tmpfs", folder], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        (folder / "filler").write_bytes(bytes(64 * 1024))
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Strange:
    """What no environ should hold."""

    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


def test_environ_of_strange_objects_costs_its_line_alone(tmp_path):
    """An application that breaks its environ after its answer breaks nothing else."""
    writer = Writer(append(tmp_path / "log"), "%m %u")
    writer.write({"REMOTE_USER": Strange()})
    assert writer.lost == [(1, "ValueError('no text')")]
    writer.write({})
    assert (tmp_path / "log").read_text() == "- \n"


def test_processor_time_and_memory_are_those_of_the_request(tmp_path):
    """%C counts from `begin` to the line; %M is a number of bytes that a Python can have."""
    writer = Writer(append(tmp_path / "log"), "%C %{user}C %{system}C %M %{mega}M")
    started_ns = time.monotonic_ns()
    writer.log.begin()
    end_s = time.process_time() + 0.1
    while time.process_time() < end_s:
        pass
    used_ns = 100_000_000
    writer.log.write(GET, ANSWER, started_ns, started_ns + used_ns)
    total, user, system, peak, mega = (tmp_path / "log").read_text().split()
    assert float(total) >= 99
    assert abs(float(user) + float(system) - float(total)) < 2
    assert 5 * 2**20 < int(peak) < 2**34
    assert int(mega) == int(peak) // 2**20


def test_peer_is_the_address_at_the_other_end(tmp_path):
    """Of the web server, where the listener is TCP; a Unix socket has none."""
    plans = (ListenerPlan(10, "127.0.0.1:1", True, ()), ListenerPlan(11, "/x", False, ()))
    writer = Writer(append(tmp_path / "log"), "%R", listeners=plans)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as tcp,
        socket.socketpair()[0] as unix,
    ):
        for end in (tcp, unix):
            writer.write(GET, SimpleNamespace(status=200, body_bytes=0, head=b"", fd=end.fileno()))
            end.getpeername()  # it is still open
    assert (tmp_path / "log").read_text() == "127.0.0.1\n-\n"
