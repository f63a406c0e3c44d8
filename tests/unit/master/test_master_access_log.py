"""The master's side of the access log: every worker hears of a rotation, and complaints are few."""

import os
from types import SimpleNamespace

import pytest

from pyfpm.errors import PyfpmError
from pyfpm.master.access_log import AccessLog, AccessLogError
from pyfpm.messages import NewAccessLog


class Link:
    """The control socket of a worker: takes messages only while it is not `full`."""

    def __init__(self, *, full=False):
        self.full = full
        self.files = []

    def send(self, message, descriptors):
        assert message == NewAccessLog()
        if self.full:
            return False
        self.files += [os.readlink(f"/proc/self/fd/{number}") for number in descriptors]
        return True


class Log:
    """Takes lines as the error log does."""

    def __init__(self):
        self.lines = []

    def error(self, event, message, **fields):
        self.lines.append(message)


def worker(serial, *, full=False):
    return SimpleNamespace(serial=serial, link=Link(full=full))


@pytest.fixture
def target(tmp_path):
    tmp_path.chmod(0o755)
    return str(tmp_path / "access.log")


def test_rotation_is_told_again_until_every_worker_has_heard(target):
    """A control socket is full where its worker has not read for long; nobody is told twice."""
    first, second = worker(1), worker(2, full=True)
    log = AccessLog(target, Log())
    log.catch_up([first, second])
    assert first.link.files == []
    os.rename(target, f"{target}.1")
    assert log.reopen([first, second])
    assert first.link.files == [target]
    for _ in range(3):
        log.catch_up([first, second])
    assert (first.link.files, second.link.files) == ([target], [])
    second.link.full = False
    for _ in range(3):
        log.catch_up([first, second])
    assert (first.link.files, second.link.files) == ([target], [target])
    log.close()


def test_worker_that_was_spawned_since_is_not_told(target):
    """It got the new file with its life, and one that is gone is forgotten."""
    gone, new = worker(1, full=True), worker(2)
    log = AccessLog(target, Log())
    log.reopen([gone])
    log.catch_up([new])
    log.catch_up([gone, new])
    assert (gone.link.files, new.link.files) == ([], [])
    log.close()


def test_worker_that_was_behind_gets_the_latest_file(target):
    """Two rotations while it was away: what lies between is not its affair."""
    late = worker(1, full=True)
    log = AccessLog(target, Log())
    for number in range(2):
        os.rename(target, f"{target}.{number}")
        log.reopen([late])
    late.link.full = False
    log.catch_up([late])
    assert late.link.files == [target]
    log.close()


def test_output_of_the_master_is_not_reopened():
    """Nobody rotates it."""
    log = AccessLog("stderr", Log())
    one = worker(1)
    assert not log.reopen([one])
    assert one.link.files == []
    log.close()


def test_file_that_cannot_be_opened_anew_leaves_the_old_one_in_use(target):
    """The failure is told, and lines go on."""
    log = AccessLog(target, Log())
    os.rename(target, f"{target}.1")
    os.symlink("/dev/null", target)
    with pytest.raises(PyfpmError, match="it is a symbolic link"):
        log.reopen([worker(1)])
    os.write(log.descriptor, b"on\n")
    with open(f"{target}.1") as file:
        assert file.read() == "on\n"
    with pytest.raises(AccessLogError, match=f"open log {target}: it is a symbolic link"):
        AccessLog(target, Log())
    log.close()


def test_fifo_that_nobody_reads_is_refused_and_not_waited_for(target):
    """A start must not hang; open(2) says ENXIO."""
    os.mkfifo(target)
    with pytest.raises(AccessLogError, match="no such device or address"):
        AccessLog(target, Log())


def test_lost_lines_of_all_workers_are_one_complaint_a_minute(target):
    """However many workers meet the full disk, and however long their words are."""
    lines = Log()
    log = AccessLog(target, lines)
    for _ in range(50):
        log.note_lost(3, "No space left on device" * 100)
    (line,) = lines.lines
    assert line.startswith(f"access log {target}: 3 lines were lost: No space left")
    assert len(line) < 400
    log._next_complaint_s = 0.0  # the minute is over
    log.note_lost(1, "still full")
    assert lines.lines[1] == f"access log {target}: 148 lines were lost: still full"
    log.close()


def test_open_file_comes_through_an_exec(target):
    """By its number; the file's name is not looked at."""
    first = AccessLog(target, Log())
    os.rename(target, f"{target}.1")
    second = AccessLog(target, Log(), first.descriptor)
    assert second.descriptor == first.descriptor
    assert not os.path.exists(target)
    second.close()
