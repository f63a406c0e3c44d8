"""What a mistake in the configuration does: a message with file, line and remedy, and no more."""

import os
import re
import signal
import socket

import pytest
from forked import run_in_child
from harness.fcgi_client import fetch
from harness.machine import (
    EXAMPLES,
    IS_ROOT,
    POOL_USER,
    copy_examples,
    find_pool_python,
    make_venv,
    temporary_folder,
)
from harness.master import Pyfpm, run_pyfpm

from pyfpm.config import load_config
from pyfpm.errors import ConfigError

IDENTITY = f"user = {POOL_USER}" if IS_ROOT else ""


def write_config(folder, text: str):
    path = folder / "pyfpm.conf"
    path.write_text(f"[pyfpm]\ncontrol = control.sock\npid = pyfpm.pid\n{text}")
    return path


def refuse(folder, text: str, *arguments: str) -> str:
    """Start with a configuration that must be refused, see that nothing is left; return stderr."""
    config = write_config(folder, text)
    before = set(folder.rglob("*"))
    done = run_pyfpm("-c", config, "start", *arguments)
    assert done.returncode == 78, done.stderr
    assert set(folder.rglob("*")) == before, "something was created"
    return done.stderr


@pytest.fixture
def folder():
    with temporary_folder() as made:
        yield made


@pytest.fixture
def startable(folder) -> str:
    """Lines with which a pool can run in this folder, whatever is wrong with the rest."""
    lines = [f"directory = {copy_examples(folder)}", IDENTITY]
    if python := find_pool_python():
        lines.append(f"python = {python}")
    return "\n".join(lines)


def line_of(text: str, needle: str) -> int:
    """The number of the line in the written file; three lines stand before the text."""
    lines = text.splitlines()
    return 3 + next(number for number, line in enumerate(lines, 1) if needle in line)


def test_every_mistake_is_reported_at_once(folder):
    """Unknown keys, wrong values and contradictions, each with its line, in one run."""
    text = f"""[pool:one]
app = hello:app
directory = {EXAMPLES}
listen = {folder}/one.sock
{IDENTITY}
pm.max_childern = 5
pm = sometimes

[pool:two]
app = hello:app
worker_script = other.py
listen = {folder}/two.sock
request_body_timeout = soon

[pool:three]
app = hello:app
"""
    message = refuse(folder, text)
    for needle, hint in (
        ("pm.max_childern", "pm.max_children"),
        ("pm = sometimes", "static"),
        ("worker_script", ""),
        ("request_body_timeout", ""),
    ):
        line = line_of(text, needle)
        found = [one for one in message.splitlines() if f"pyfpm.conf:{line}: " in one]
        assert found, f"no message for line {line} ({needle}) in:\n{message}"
        assert hint in found[0]
    assert re.search(r"\[pool:three\].*listen", message)


def test_a_key_that_is_not_built_yet_is_refused(folder):
    """Accepted and ignored would be worse than refused."""
    text = f"[pool:one]\napp = hello:app\nlisten = {folder}/s\n{IDENTITY}\nstdout_logfile = a.log\n"
    message = refuse(folder, text)
    assert f":{line_of(text, 'stdout_logfile')}: " in message
    assert "not supported yet" in message


def test_an_unknown_user_is_refused(folder, as_root):
    """The name, the file and the line."""
    text = f"[pool:one]\napp = hello:app\nlisten = {folder}/s\nuser = nobody-of-that-name\n"
    message = refuse(folder, text)
    assert f":{line_of(text, 'user')}: [pool:one] user" in message
    assert "nobody-of-that-name" in message


def test_a_venv_without_python_is_refused(folder):
    """A folder that is no virtual environment, or whose interpreter is gone."""
    (folder / "venv" / "bin").mkdir(parents=True)
    text = f"[pool:one]\napp = hello:app\nlisten = {folder}/s\n{IDENTITY}\npython = venv\n"
    message = refuse(folder, text)
    assert f":{line_of(text, 'python')}: [pool:one] python" in message
    assert f"{folder}/venv" in message


def test_a_folder_that_the_pools_user_cannot_enter_is_named(folder, as_root):
    """The first folder on the way that refuses, not the last one."""
    closed = folder / "closed"
    (closed / "app").mkdir(parents=True)
    closed.chmod(0o700)
    text = (
        f"[pool:one]\napp = hello:app\nlisten = {folder}/s\n"
        f"user = {POOL_USER}\ndirectory = {closed}/app\n"
    )
    message = refuse(folder, text)
    assert f":{line_of(text, 'directory')}: [pool:one] directory" in message
    assert re.search(rf"{re.escape(str(closed))}(?!/app)", message)


def test_an_interpreter_that_the_pools_user_cannot_reach_is_refused(folder, as_root):
    """A venv in a private folder."""
    (folder / "closed").mkdir()
    make_venv(folder / "closed" / "venv")
    (folder / "closed").chmod(0o700)
    text = (
        f"[pool:one]\napp = hello:app\nlisten = {folder}/s\ndirectory = {EXAMPLES}\n"
        f"user = {POOL_USER}\npython = closed/venv\n"
    )
    message = refuse(folder, text)
    assert f":{line_of(text, 'python')}: [pool:one] python" in message
    assert f"{folder}/closed" in message


def test_a_socket_of_a_live_server_is_not_taken(folder, startable):
    """The path, the file and the line; the other server goes on."""
    path = folder / "taken.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        text = f"[pool:one]\napp = hello:app\nlisten = {path}\n{startable}\n"
        config = write_config(folder, text)
        done = run_pyfpm("-c", config, "start")
        assert done.returncode not in (0, 70), done.stderr
        assert str(path) in done.stderr
        assert f"pyfpm.conf:{line_of(text, 'listen')}" in done.stderr
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            other.accept()[0].close()
    assert not (folder / "pyfpm.pid").exists()
    assert not (folder / "control.sock").exists()


def test_a_file_that_is_no_socket_is_not_removed(folder, startable):
    """`listen` on the path of somebody's data."""
    path = folder / "data"
    path.write_text("precious")
    text = f"[pool:one]\napp = hello:app\nlisten = {path}\n{startable}\n"
    done = run_pyfpm("-c", write_config(folder, text), "start")
    assert done.returncode not in (0, 70), done.stderr
    assert str(path) in done.stderr
    assert path.read_text() == "precious"


def test_a_stale_socket_is_replaced():
    """What a killed server left behind is no reason to fail."""

    def leave_stale_socket(folder):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / "hello.sock"))

    pool = "[pool:hello]\napp = hello:app\nlisten = %(here)s/hello.sock"
    with Pyfpm(pool, prepare=leave_stale_socket) as fpm:
        assert fetch(fpm.address("hello.sock")).status == 200


FAILING = """
[pool:good]
app = hello:app
listen = %(here)s/good.sock

[pool:nomodule]
app = no_such_module:app
listen = %(here)s/nomodule.sock

[pool:nocallable]
app = hello:application
listen = %(here)s/nocallable.sock

[pool:broken]
app = broken:app
listen = %(here)s/broken.sock
"""


def test_a_pool_that_cannot_boot_names_its_line_and_the_others_serve():
    """A missing module, a missing callable, an exception at import: one ALERT each."""
    with Pyfpm(FAILING, files={"broken.py": "raise OSError('no database today')\n"}) as fpm:
        assert fetch(fpm.address("good.sock")).status == 200
        lines = fpm.config.read_text().splitlines()
        for pool, app, reason in (
            ("nomodule", "no_such_module:app", "no_such_module"),
            ("nocallable", "hello:application", "application"),
            ("broken", "broken:app", "no database today"),
        ):
            number = lines.index(f"app = {app}") + 1
            alerts = fpm.log.find(rf"ALERT: \[pool {pool}\]")
            text = "\n".join(alerts)
            assert f"{fpm.config}:{number}" in text, text
            assert reason in text
        state = fpm.status()["pools"]
        assert state["good"]["state"] == "running"
        assert state["broken"]["state"] != "running"


def test_a_pool_that_could_not_boot_serves_when_its_mistake_is_gone():
    """The boot is tried again, so a repaired application needs no restart."""
    files = {"broken.py": "raise OSError('no database today')\n"}
    with Pyfpm(FAILING, files=files) as fpm:
        os.replace(fpm.app / "hello.py", fpm.app / "broken.py")
        fpm.log.wait_for(r"\[pool broken\]")
        assert fetch(fpm.address("broken.sock")).status == 200


def test_a_master_whose_pools_all_fail_ends_with_1(folder, startable):
    """Nothing to serve, nothing left behind."""
    text = f"[pool:one]\napp = no_such_module:app\nlisten = {folder}/s.sock\n{startable}\n"
    done = run_pyfpm("-c", write_config(folder, text), "start")
    assert done.returncode == 1, done.stderr
    assert "no_such_module" in done.stderr
    assert {path.name for path in folder.iterdir()} == {"app", "pyfpm.conf"}


@pytest.mark.skipif(not IS_ROOT, reason="becomes another user")
def test_folder_that_the_checking_user_cannot_see_is_not_said_to_be_missing():
    """Another tenant's home is there, only not for whoever runs `check`."""

    def look():
        os.setgroups([])
        os.setegid(12345)
        os.seteuid(12345)
        with pytest.raises(ConfigError) as caught:
            load_config(f"{folder}/f", {}, is_root=False, text=text)
        assert f"{folder}/home/site cannot be seen by the user who checks" in str(caught.value)
        assert f"{folder}/missing does not exist" in str(caught.value)

    with temporary_folder() as folder:
        (folder / "home" / "site").mkdir(parents=True)
        (folder / "home").chmod(0o700)
        text = ""
        for name, place in (("a", "home/site"), ("b", "missing")):
            text += f"[pool:{name}]\napp = a:b\nlisten = {folder}/{name}.sock\n"
            text += f"directory = {folder}/{place}\npython = /bin/sh\n"
        run_in_child(look)


def test_reload_by_signal_with_a_wrong_file_is_said_once():
    """Not a second time for a client that there is not; the pool serves on."""
    with Pyfpm("[pool:one]\napp = hello:app\nlisten = %(here)s/one.sock\n") as fpm:
        text = fpm.config.read_text()
        fpm.config.write_text(text + "pm = fast\n")
        fpm.process.send_signal(signal.SIGHUP)
        fpm.log.wait_for("reload failed: the configuration is refused")
        fpm.config.write_text(text)
        fpm.process.send_signal(signal.SIGHUP)
        fpm.log.wait_for("reload complete")
        assert fpm.log.text().count("the configuration is refused, nothing has changed") == 1
        assert fetch(fpm.address("one.sock"), "/").status == 200
