"""Code that runs before any application: `.pth` files, sitecustomize, the venv's own interpreter.

All of it belongs to the pool's user, who may have written it to be run by root one day.
"""

import os
import pwd
import signal

import pytest
from harness.fcgi_client import fetch
from harness.machine import make_venv
from harness.master import Pyfpm

pytestmark = pytest.mark.usefixtures("as_root")

POOLS = """
[pool:shop]
app = marked:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 1
python = %(here)s/venv
environment = PYTHONPATH="%(here)s/tenant"
user = www-data
"""

LEAVE_A_TRACE = """\
import os, sys
with open({path!r}, "a") as trace:
    trace.write("{source} %d %d %d %d\\n" % (os.getpid(), *os.getresuid()))
"""
SOURCES = ("pth", "sitecustomize", "application")


def prepare(folder):
    trace = folder / "trace"
    trace.touch()
    trace.chmod(0o666)
    site = next(make_venv(folder / "venv").glob("lib/python3*/site-packages"))
    texts = {name: LEAVE_A_TRACE.format(path=str(trace), source=name) for name in SOURCES}
    (site / "trace.pth").write_text(f"import os; exec({texts['pth']!r})\n")
    # In the venv a sitecustomize of the distribution comes first (Debian has one).
    (folder / "tenant").mkdir()
    (folder / "tenant" / "sitecustomize.py").write_text(texts["sitecustomize"])
    (folder / "app" / "marked.py").write_text(
        texts["application"] + "from torture import app\n", encoding="utf-8"
    )


@pytest.fixture
def fpm():
    with Pyfpm(POOLS, prepare=prepare) as running:
        yield running


def runs(fpm):
    """Every run of such code: (source, pid, real, effective and saved uid)."""
    lines = (fpm.folder / "trace").read_text().splitlines()
    words = (line.split() for line in lines)
    return [(source, *map(int, numbers)) for source, *numbers in words]


def assert_never_root(fpm):
    uid = pwd.getpwnam("www-data").pw_uid
    assert {run[2:] for run in runs(fpm)} == {(uid, uid, uid)}


def pids(fpm):
    return {run[1] for run in runs(fpm)}


def test_startup_code_runs_as_the_pools_user_in_its_zygote_alone(fpm):
    """The zygote is the one process that starts the interpreter; workers are its forks."""
    assert fetch(fpm.address("shop.sock"), "/").status == 200
    assert {run[0] for run in runs(fpm)} == set(SOURCES)
    assert pids(fpm) == {fpm.zygote_pid("shop")}
    assert_never_root(fpm)


def test_check_as_root_runs_none_of_it(fpm):
    """`check` executes the venv's interpreter, as the pool's user, without its start-up code."""
    before = runs(fpm)
    for options in ([], ["--dump"]):
        done = fpm.command("check", *options)
        assert done.returncode == 0, done.stderr
    assert runs(fpm) == before


@pytest.mark.parametrize("command", ["reload", "restart shop"])
def test_new_processes_run_it_as_the_pools_user(fpm, command):
    """The trial of a new generation is one more zygote, with the same identity."""
    first = pids(fpm)
    assert fpm.command(*command.split()).returncode == 0
    assert fetch(fpm.address("shop.sock"), "/").status == 200
    if command == "reload":
        assert pids(fpm) > first
    assert_never_root(fpm)


def test_failed_trial_of_a_reload_runs_it_as_the_pools_user(fpm):
    """So does the one that is thrown away."""
    first = pids(fpm)
    (fpm.folder / "app" / "torture.py").write_text("1 / 0\n")
    assert fpm.command("reload", "shop").returncode == 1
    assert pids(fpm) > first
    assert_never_root(fpm)


def test_upgrade_and_its_rehearsal_run_none_of_it_as_root(fpm):
    """The new code is rehearsed and executed as root, by the master's interpreter alone."""
    done = fpm.command("upgrade")
    assert done.returncode == 0, done.stderr
    assert fetch(fpm.address("shop.sock"), "/").status == 200
    assert fpm.process.pid not in pids(fpm)
    assert_never_root(fpm)


def test_interpreter_of_a_tenant_that_is_a_trap_harms_check_in_no_way(fpm):
    """It runs as the tenant, has ten seconds, and its words reach root's terminal cleaned."""
    trap = fpm.folder / "venv" / "bin" / "trap"
    trap.write_text(
        "#!/bin/sh\n"
        f"echo trap $$ $(id -ru) $(id -u) $(id -ru) >> {fpm.folder}/trace\n"
        "sleep 300 & \n"  # holds the pipe
        "printf 'first\\n\\033]0;owned\\007last' >&2\n"
        "exit 49\n"
    )
    trap.chmod(0o755)
    fpm.config.write_text(
        fpm.config.read_text().replace("%(here)s/venv", f"{fpm.folder}/venv/bin/trap")
    )
    done = fpm.command("check")
    try:
        assert done.returncode == 78
        assert "\033" not in done.stderr
        assert "owned" in done.stderr
        assert_never_root(fpm)
    finally:
        for pid in os.listdir("/proc"):
            if pid.isdecimal() and is_sleeper(pid, fpm):
                os.kill(int(pid), signal.SIGKILL)


def is_sleeper(pid, fpm):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
            same = cmdline.read() == b"sleep\x00300\x00"
        return same and os.readlink(f"/proc/{pid}/cwd").startswith(str(fpm.folder))
    except OSError:
        return False
