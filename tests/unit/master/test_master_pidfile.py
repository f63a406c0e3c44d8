"""The pid file: whole or not there."""

import os

import pytest

from pyfpm.errors import PyfpmError
from pyfpm.master.pidfile import PidFile


def test_pid_is_written_and_removed(tmp_path):
    """Init scripts read it; nothing stays behind."""
    file = PidFile(str(tmp_path / "fpm.pid"))
    file.write(4711)
    assert (tmp_path / "fpm.pid").read_text() == "4711\n"
    file.remove()
    assert os.listdir(tmp_path) == []


def test_old_file_is_replaced_in_one_step(tmp_path):
    """After a crash the old file is there; a reader sees the old pid or the new one."""
    path = tmp_path / "fpm.pid"
    path.write_text("1\n")
    before = path.stat().st_ino
    PidFile(str(path)).write(2)
    assert path.read_text() == "2\n"
    assert path.stat().st_ino != before
    assert os.listdir(tmp_path) == ["fpm.pid"]


def test_symbolic_link_is_replaced_and_not_followed(tmp_path):
    """A pid file in a folder of others must not overwrite what they chose."""
    (tmp_path / "target").write_text("precious")
    (tmp_path / "fpm.pid").symlink_to(tmp_path / "target")
    (tmp_path / "fpm.pid.7").symlink_to(tmp_path / "target")
    PidFile(str(tmp_path / "fpm.pid")).write(7)
    assert (tmp_path / "target").read_text() == "precious"
    assert (tmp_path / "fpm.pid").read_text() == "7\n"


def test_pid_file_that_was_never_written_is_not_removed(tmp_path):
    """A second master that fails to start leaves the first one's file."""
    path = tmp_path / "fpm.pid"
    path.write_text("1\n")
    PidFile(str(path)).remove()
    assert path.exists()


def test_last_folder_of_the_path_is_made(tmp_path):
    """What is below /run is gone after a restart of the machine; a tight umask changes nothing."""
    umask = os.umask(0o077)
    try:
        PidFile(str(tmp_path / "run" / "fpm.pid")).write(1)
    finally:
        os.umask(umask)
    assert (tmp_path / "run" / "fpm.pid").read_text() == "1\n"
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755


def test_missing_folder_above_is_named(tmp_path):
    """The error says which file and why; a whole path of folders is more likely a typing error."""
    with pytest.raises(PyfpmError, match=r"write pid file .*/b/fpm\.pid: no such file"):
        PidFile(str(tmp_path / "a" / "b" / "fpm.pid")).write(1)


def test_no_path_is_no_file(tmp_path, monkeypatch):
    """`pid` has no default."""
    monkeypatch.chdir(tmp_path)
    file = PidFile(None)
    file.write(1)
    file.remove()
    assert os.listdir(tmp_path) == []
