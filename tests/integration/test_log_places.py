"""Where logs may be: what `start` refuses `check` has named, with the line."""

import os
import re

import pytest
from harness.fcgi_client import fetch
from harness.machine import IS_ROOT, POOL_USER, temporary_folder, wait_until
from harness.master import Pyfpm, run_pyfpm

STRANGER = 12345

needs_root = pytest.mark.skipif(not IS_ROOT, reason="makes files of other users")


@pytest.fixture
def folder():
    with temporary_folder() as made:
        made.chmod(0o755)
        (made / "app.py").write_text("app = None\n")
        yield made


def in_open_folder(folder):
    (folder / "logs").mkdir()
    (folder / "logs").chmod(0o777)


def in_folder_of_another(folder):
    (folder / "logs").mkdir()
    os.chown(folder / "logs", STRANGER, STRANGER)


def below_folder_of_another(folder):
    (folder / "logs").mkdir()
    os.chown(folder, STRANGER, STRANGER)


def below_link_of_another(folder):
    (folder / "real").mkdir()
    (folder / "logs").symlink_to(folder / "real")
    os.chown(folder / "logs", STRANGER, STRANGER, follow_symlinks=False)


def link_in_its_place(folder):
    (folder / "logs").mkdir()
    (folder / "logs" / "a.log").symlink_to("/etc/passwd")


def hard_link_in_its_place(folder):
    (folder / "logs").mkdir()
    (folder / "logs").chmod(0o1777)
    (folder / "victim").write_text("")
    os.link(folder / "victim", folder / "logs" / "a.log")


def file_of_another(folder):
    (folder / "logs").mkdir()
    (folder / "logs" / "a.log").write_text("")
    os.chown(folder / "logs" / "a.log", STRANGER, STRANGER)


def folder_in_its_place(folder):
    (folder / "logs" / "a.log").mkdir(parents=True)


def fifo_in_its_place(folder):
    (folder / "logs").mkdir()
    os.mkfifo(folder / "logs" / "a.log")


def good_place(folder):
    (folder / "logs").mkdir()


def write(folder, key):
    log = f"{key} = {folder}/place/logs/a.log"  # beside the sockets: their folder is judged too
    main, pool = (log, "") if key == "error_log" else ("error_log = stderr", log)
    user = f"user = {POOL_USER}\n" if IS_ROOT else ""
    text = f"[pyfpm]\ncontrol = {folder}/c.sock\n{main}\n[pool:x]\napp = app:app\n{user}{pool}\n"
    (folder / "pyfpm.conf").write_text(
        f"{text}python = /usr/bin/python3\nlisten = {folder}/x.sock\n"
    )
    line = next(n for n, row in enumerate(text.splitlines(), 1) if row.startswith(f"{key} ="))
    return folder / "pyfpm.conf", line


@needs_root
@pytest.mark.parametrize("key", ["error_log", "slowlog", "access.log"])
@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (in_open_folder, "others can write there.*chmod go-w"),
        (in_folder_of_another, f"others can write there.*/place/logs belongs to user {STRANGER}"),
        (below_folder_of_another, f"others can write there.*/place belongs to user {STRANGER}"),
        (below_link_of_another, f"symbolic link of user {STRANGER}"),
        (link_in_its_place, "symbolic link"),
        (hard_link_in_its_place, "another name"),
        (file_of_another, f"belongs to user {STRANGER}"),
        (folder_in_its_place, "is a folder"),
        (fifo_in_its_place, "FIFO"),
    ],
)
def test_place_that_somebody_else_decides_about_is_refused(folder, key, arrange, reason):
    """By `check` and by `start`, in the same words."""
    (folder / "place").mkdir()
    arrange(folder / "place")
    config, line = write(folder, key)
    if arrange is fifo_in_its_place and key == "access.log":
        pytest.skip("the master does not write there")
    done = run_pyfpm("-c", config, "check")
    section = "pyfpm" if key == "error_log" else "pool:x"
    assert done.returncode == 78
    assert done.stderr.startswith(f"{config}:{line}: [{section}] {key}: ")
    assert re.search(reason, done.stderr), done.stderr
    started = run_pyfpm("-c", config, "start")
    assert started.returncode == 78
    assert started.stderr == done.stderr
    if arrange is hard_link_in_its_place:
        assert (folder / "place" / "victim").read_text() == ""


@needs_root
@pytest.mark.parametrize("key", ["error_log", "slowlog", "access.log"])
def test_place_of_the_masters_own_is_accepted(folder, key):
    """The same folder, left alone."""
    (folder / "place").mkdir()
    good_place(folder / "place")
    config, _ = write(folder, key)
    done = run_pyfpm("-c", config, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (folder / "place" / "logs" / "a.log").exists()


def pools(folder, one, other, users=(POOL_USER, POOL_USER), main="stderr"):
    text = f"[pyfpm]\ncontrol = {folder}/c.sock\nerror_log = {main}\n"
    for name, keys, user in (("a", one, users[0]), ("b", other, users[1])):
        text += f"[pool:{name}]\napp = app:app\npython = /usr/bin/python3\nuser = {user}\n"
        text += f"listen = {folder}/{name}.sock\n{keys}\n"
    (folder / "pyfpm.conf").write_text(text)
    return run_pyfpm("-c", folder / "pyfpm.conf", "check")


@needs_root
def test_access_log_that_workers_of_two_users_would_write_is_refused(folder):
    """Either could empty it or forge lines of the other; pools of one user may share one."""
    log = f"access.log = {folder}/a.log"
    done = pools(folder, log, log, users=(POOL_USER, "nobody"))
    assert done.returncode == 78
    assert "[pool:b] access.log: " in done.stderr
    assert "pool:a too" in done.stderr
    assert pools(folder, log, log).returncode == 0


@needs_root
def test_access_log_that_the_master_writes_too_is_refused(folder):
    """Workers would hold the error log or a slow log open for writing, by whatever name."""
    done = pools(folder, f"access.log = {folder}/e.log", "", main=f"{folder}/e.log")
    assert "[pool:a] access.log: " in done.stderr
    assert "error_log" in done.stderr
    (folder / "alias").symlink_to(folder)
    done = pools(folder, f"access.log = {folder}/alias/s.log", f"slowlog = {folder}/s.log")
    assert "[pool:a] access.log: " in done.stderr
    assert "slowlog" in done.stderr


def test_log_that_vanishes_costs_no_request():
    """Deleted with its folder while workers write; a rotation that fails keeps the old file."""
    pool = "[pool:x]\napp = torture:app\nlisten = %(here)s/x.sock\naccess.log = %(here)s/l/a.log\n"
    with Pyfpm(
        pool, main="error_log = l/e.log", prepare=lambda f: (f / "l").mkdir(), wait_ready=False
    ) as fpm:
        wait_until((fpm.folder / "x.sock").exists)
        wait_until(lambda: fetch(fpm.address("x.sock"), "/pid").status == 200)
        for name in ("a.log", "e.log"):
            (fpm.folder / "l" / name).unlink()
        (fpm.folder / "l").rmdir()
        assert fetch(fpm.address("x.sock"), "/pid").status == 200
        assert fpm.command("reopen-logs").returncode == 1
        assert fetch(fpm.address("x.sock"), "/pid").status == 200
