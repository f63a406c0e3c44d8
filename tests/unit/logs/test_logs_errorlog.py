"""Opening, reopening and refusing error logs, on real files."""

import json
import logging
import os
import stat

import pytest

from pyfpm.errors import PyfpmError
from pyfpm.logs import Level, Log, LogSettings, open_log, reopen_log


@pytest.fixture(autouse=True)
def own_logging():
    """Give each test a root logger of its own, and the old one back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("pyfpm")
    before = (root.handlers, root.level, ours.level, logging.raiseExceptions)
    root.handlers = []
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers, root.level, ours.level, logging.raiseExceptions = before
    ours.manager._clear_cache()


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path


def settings_of(path, *, level=Level.NOTICE, json=False, limit=1024):
    return LogSettings(target=str(path), level=level, json=json, limit=limit)


def lines_of(path):
    return path.read_text().splitlines()


def test_events_land_in_the_file_in_text(folder):
    """What Log writes is in the file at once, with its level and pool."""
    path = folder / "error.log"
    open_log(settings_of(path))
    Log("shop").warning("pool_full", "reached pm.max_children (5)")
    Log().notice("running", "fpm is running")
    first, second = lines_of(path)
    assert first.endswith("WARNING: [pool shop] reached pm.max_children (5)")
    assert second.endswith("NOTICE: fpm is running")


def test_events_land_in_the_file_in_json(folder):
    """The event's word and its fields are there for machines."""
    path = folder / "error.log"
    open_log(settings_of(path, json=True))
    Log("shop").notice("worker_ended", "child 3 exited", pid=3, code=0)
    values = json.loads(path.read_text())
    assert (values["event"], values["pool"], values["pid"], values["code"]) == (
        "worker_ended",
        "shop",
        3,
        0,
    )


def test_percent_signs_in_a_message_are_text(folder):
    """A URI is full of them; logging must not take them for its own."""
    path = folder / "error.log"
    open_log(settings_of(path))
    Log().error("x", "GET /%s%d%20 failed")
    assert lines_of(path)[0].endswith("GET /%s%d%20 failed")


def test_events_below_the_level_are_not_written(folder):
    """log_level warning silences notices, but not what workers print."""
    path = folder / "error.log"
    open_log(settings_of(path, level=Level.WARNING))
    log = Log()
    log.notice("a", "a notice")
    log.debug("a", "a debug line")
    log.write(Level.ALWAYS, "output", "printed by a worker")
    log.alert("b", "an alert")
    assert [line.split("] ")[1] for line in lines_of(path)] == [
        "NOTICE: printed by a worker",
        "ALERT: an alert",
    ]


def test_records_of_libraries_are_written_from_warning_on(folder):
    """asyncio's warnings are news, its debug lines are not, also at log_level debug."""
    path = folder / "error.log"
    open_log(settings_of(path, level=Level.DEBUG))
    logging.getLogger("asyncio").debug("selector")
    logging.getLogger("asyncio").warning("slow callback")
    assert [line.partition("WARNING: ")[2] for line in lines_of(path)] == ["slow callback"]


def test_new_file_is_closed_to_others_and_an_old_one_is_appended_to(folder):
    """0640 for a file that we create; what is in a file stays."""
    path = folder / "error.log"
    old_umask = os.umask(0)
    try:
        open_log(settings_of(path))
    finally:
        os.umask(old_umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    Log().notice("a", "first")
    open_log(settings_of(path))
    Log().notice("a", "second")
    assert len(lines_of(path)) == 2


def test_opening_anew_closes_the_previous_target(folder):
    """A reload that moves the log writes each line once, and holds one descriptor."""
    open_log(settings_of(folder / "a.log"))
    before = len(os.listdir("/proc/self/fd"))
    open_log(settings_of(folder / "b.log"))
    Log().notice("a", "only here")
    assert len(os.listdir("/proc/self/fd")) == before
    assert lines_of(folder / "a.log") == []
    assert len(lines_of(folder / "b.log")) == 1


def test_failed_opening_leaves_the_previous_target(folder):
    """A reload with a bad path must not leave the master without a log."""
    open_log(settings_of(folder / "a.log"))
    with pytest.raises(PyfpmError):
        open_log(settings_of(folder / "missing" / "b.log"))
    Log().notice("a", "still here")
    assert len(lines_of(folder / "a.log")) == 1


def test_symbolic_link_is_refused(folder):
    """A link would let its owner choose which file root appends to."""
    (folder / "target").write_text("")
    (folder / "error.log").symlink_to(folder / "target")
    with pytest.raises(PyfpmError, match="symbolic link"):
        open_log(settings_of(folder / "error.log"))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o2775])
def test_folder_that_others_can_write_is_refused(folder, mode):
    """Its users could swap the file between two openings; the message says what to do."""
    folder.chmod(mode)
    with pytest.raises(PyfpmError, match=f"chmod go-w {folder}"):
        open_log(settings_of(folder / "error.log"))
    assert not (folder / "error.log").exists()


@pytest.mark.parametrize("mode", [0o1777, 0o755, 0o700])
def test_folder_that_is_safe_is_accepted(folder, mode):
    """Sticky folders such as /tmp protect a file from everybody but its owner."""
    folder.chmod(mode)
    open_log(settings_of(folder / "error.log"))
    assert (folder / "error.log").exists()


def test_folder_of_another_user_is_refused(as_root, folder):
    """Its owner may do everything in it, whatever its mode says."""
    os.chown(folder, 12345, 12345)
    with pytest.raises(PyfpmError, match="others can write there"):
        open_log(settings_of(folder / "error.log"))


def test_missing_folder_is_named(folder):
    """A typing error in the path is the commonest mistake."""
    with pytest.raises(PyfpmError, match=rf"{folder}/logs: no such file"):
        open_log(settings_of(folder / "logs" / "error.log"))


def test_folder_in_the_place_of_the_file_is_named(folder):
    """`error_log = /var/log` is answered with the path."""
    (folder / "logs").mkdir()
    with pytest.raises(PyfpmError, match=rf"open log {folder}/logs: is a directory"):
        open_log(settings_of(folder / "logs"))


def test_reopening_after_a_rotation_writes_to_a_new_file(folder):
    """logrotate renames the file and sends USR1."""
    path = folder / "error.log"
    open_log(settings_of(path))
    Log().notice("a", "before")
    path.rename(folder / "error.log.1")
    Log().notice("a", "between")
    reopen_log()
    Log().notice("a", "after")
    assert len(lines_of(folder / "error.log.1")) == 2
    assert [line.partition("NOTICE: ")[2] for line in lines_of(path)] == ["after"]


def test_reopening_keeps_the_format_and_level(folder):
    """Rotation must not turn JSON into text."""
    path = folder / "error.log"
    open_log(settings_of(path, json=True))
    path.unlink()
    reopen_log()
    Log().notice("a", "m")
    assert json.loads(path.read_text())["message"] == "m"


def test_reopening_that_fails_keeps_writing_to_the_old_file(folder):
    """A rotation that leaves a link in the place loses no line."""
    path = folder / "error.log"
    open_log(settings_of(path))
    path.rename(folder / "old.log")
    path.symlink_to(folder / "elsewhere")
    with pytest.raises(PyfpmError):
        reopen_log()
    Log().notice("a", "kept")
    assert len(lines_of(folder / "old.log")) == 1


def test_stderr_is_a_target_and_reopening_leaves_it(capsys):
    """Under systemd and in containers the log goes to standard error."""
    open_log(settings_of("stderr"))
    reopen_log()
    Log("shop").alert("boot_failed", "boot failed")
    assert capsys.readouterr().err.endswith("ALERT: [pool shop] boot failed\n")


def test_text_that_is_no_unicode_is_written_escaped(folder):
    """A file name that is no UTF-8 in a message does not lose the line."""
    path = folder / "error.log"
    open_log(settings_of(path))
    Log().error("a", "no such file: caf\udce9")
    assert lines_of(path)[0].endswith("no such file: caf\\udce9")
