"""The error log on a disk that is full: it loses lines, and nothing else."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyfpm.logs import OUTPUT, Level, Log, LogSettings, open_log, reopen_log


@pytest.fixture
def full_disk(as_root, tmp_path):
    """A tiny tmpfs without a free page; `free` makes room again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "tmpfs", folder],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        (folder / "error.log").touch()
        filler = folder / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def own_logging():
    root, ours = logging.getLogger(), logging.getLogger("pyfpm")
    before = (root.handlers, root.level, ours.level, logging.raiseExceptions)
    root.handlers = []
    yield
    root.handlers, root.level, ours.level, logging.raiseExceptions = before
    ours.manager._clear_cache()


def test_full_disk_costs_lines_but_raises_nowhere(full_disk, tmp_path, own_logging):
    """Writing, reopening and changing the target go on; the log works again once there is room."""
    settings = LogSettings(str(full_disk / "error.log"), Level.NOTICE, json=False, limit=1024)
    open_log(settings)
    for number in range(200):
        Log().notice("a", f"line {number} " + "x" * 200)
        Log().write(Level.ALWAYS, OUTPUT, "\n".join(["of a worker " + "x" * 200] * 100))
    (full_disk / "error.log").rename(full_disk / "error.log.1")
    reopen_log()
    Log().notice("a", "still full")
    (full_disk / "filler").unlink()
    reopen_log()
    Log().notice("a", "room again")
    assert (full_disk / "error.log").read_text().endswith("room again\n")


def test_target_can_be_changed_away_from_a_full_disk(full_disk, tmp_path, own_logging):
    """The remedy for a full disk is another path and a reload."""
    tmp_path.chmod(0o755)
    open_log(LogSettings(str(full_disk / "error.log"), Level.NOTICE, json=False, limit=1024))
    Log().notice("a", "lost")
    descriptors = len(os.listdir("/proc/self/fd"))
    open_log(LogSettings(str(tmp_path / "error.log"), Level.NOTICE, json=False, limit=1024))
    Log().notice("a", "kept")
    assert (tmp_path / "error.log").read_text().endswith("kept\n")
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_standard_error_that_is_full_ends_nobody():
    """`/dev/full` refuses every write."""
    code = (
        "from pyfpm.logs import *\n"
        "open_log(LogSettings('stderr', Level.NOTICE, json=True, limit=1024))\n"
        "Log().alert('a', 'm' * 100000)\n"
        "print('alive')\n"
    )
    root = Path(__file__).parents[2]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stderr=full, stdout=subprocess.PIPE, cwd=root, check=False
        )
    assert done.stdout == b"alive\n"
