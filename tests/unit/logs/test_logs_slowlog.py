"""Slow-log entries, in files and in the error log."""

import json
import logging
import re
import stat

import pytest

from pyfpm.errors import PyfpmError
from pyfpm.logs import Level, LogSettings, SlowEntry, SlowLog, open_log, reopen_log

ENTRY = SlowEntry(123, "GET /report?year=2026", 5.0214, "main thread:\n  total() /srv/report.py:80")


@pytest.fixture(autouse=True)
def own_logging():
    """Give each test a root logger of its own, and the old one back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("pyfpm")
    before = (root.handlers, root.level, ours.level, logging.raiseExceptions)
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level, ours.level, logging.raiseExceptions = before
    ours.manager._clear_cache()


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    open_log(LogSettings(str(tmp_path / "error.log"), Level.NOTICE, json=False, limit=1024))
    return tmp_path


@pytest.fixture
def open_slow_log():
    """Open slow logs that are closed at the end."""
    opened = []

    def open_one(path, pool="shop", *, json=False):
        opened.append(SlowLog(None if path is None else str(path), pool, json=json))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


def test_entry_names_time_pool_pid_request_and_seconds_before_the_stacks(folder, open_slow_log):
    """The look is PHP-FPM's; a blank line ends the entry."""
    path = folder / "slow.log"
    open_slow_log(path).write(ENTRY)
    head, *rest = path.read_text().split("\n")
    assert re.fullmatch(r"\[\d\d-\w{3}-\d{4} \d\d:\d\d:\d\d\]  \[pool shop\] pid 123", head)
    assert rest == [
        "request = GET /report?year=2026",
        "seconds = 5.021",
        "main thread:",
        "  total() /srv/report.py:80",
        "",
        "",
    ]


def test_error_log_says_that_there_is_an_entry(folder, open_slow_log):
    """Whoever reads the error log alone learns of it, in PHP-FPM's words."""
    path = folder / "slow.log"
    open_slow_log(path).write(ENTRY)
    (line,) = (folder / "error.log").read_text().splitlines()
    assert line.endswith(
        "WARNING: [pool shop] child 123, GET /report?year=2026: "
        f"executing too slow (5.02 s): see {path}"
    )


def test_without_a_file_the_stacks_are_in_the_error_log(folder, open_slow_log):
    """Every line is one of the pool, and a warning."""
    open_slow_log(None).write(ENTRY)
    lines = (folder / "error.log").read_text().splitlines()
    assert [line.partition("WARNING: [pool shop] ")[2] for line in lines] == [
        "child 123, GET /report?year=2026: executing too slow (5.02 s)",
        "main thread:",
        "  total() /srv/report.py:80",
    ]


def test_json_entry_is_one_object_a_line(folder, open_slow_log):
    """The same facts for machines."""
    path = folder / "slow.log"
    slow_log = open_slow_log(path, json=True)
    slow_log.write(ENTRY)
    slow_log.write(ENTRY)
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first["stacks"] == ["main thread:", "  total() /srv/report.py:80"]
    names = ("pool", "pid", "event", "level", "request", "seconds")
    assert [second[name] for name in names] == [
        "shop",
        123,
        "slow_request",
        "warning",
        "GET /report?year=2026",
        5.021,
    ]


def test_request_and_stacks_cannot_forge_an_entry(folder, open_slow_log):
    """Line breaks and controls from outside are made visible."""
    path = folder / "slow.log"
    forged = "GET /\n[21-Nov-2026 10:00:00]  [pool bank] pid 1"
    open_slow_log(path).write(SlowEntry(1, forged, 1.0, "\x1b[2J"))
    assert path.read_text().splitlines()[1:] == [
        r"request = GET /\x0a[21-Nov-2026 10:00:00]  [pool bank] pid 1",
        "seconds = 1.000",
        r"\x1b[2J",
        "",
    ]
    assert len((folder / "error.log").read_text().splitlines()) == 1


def test_pools_share_a_file(folder, open_slow_log):
    """Each entry names its pool, and one pool's end leaves the file to the other."""
    path = folder / "slow.log"
    first, second = open_slow_log(path, "shop"), open_slow_log(path, "bank")
    first.write(ENTRY)
    first.close()
    second.write(ENTRY)
    assert re.findall(r"\[pool (\w+)\]", path.read_text()) == ["shop", "bank"]


def test_reopening_covers_slow_logs_also_when_another_log_cannot_be_opened(folder, open_slow_log):
    """After a rotation new entries are in the new file; what failed keeps its old one."""
    path, other = folder / "slow.log", folder / "other.log"
    broken, slow_log = open_slow_log(other, "bank"), open_slow_log(path)
    path.rename(folder / "slow.log.1")
    other.rename(folder / "other.log.1")
    other.symlink_to("slow.log")
    with pytest.raises(PyfpmError, match=r"other\.log: it is a symbolic link"):
        reopen_log()
    slow_log.write(ENTRY)
    broken.write(ENTRY)
    assert "pool shop" in path.read_text()
    assert (folder / "slow.log.1").read_text() == ""
    assert "pool bank" in (folder / "other.log.1").read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_file_that_is_a_symbolic_link_is_refused(folder, open_slow_log):
    """The rules are those of the error log."""
    (folder / "slow.log").symlink_to(folder / "error.log")
    with pytest.raises(PyfpmError, match="it is a symbolic link"):
        open_slow_log(folder / "slow.log")
