"""A second master on what a first one holds: it says who is there, and harms nobody."""

import os
import re
import signal

import pytest
from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm, run_pyfpm
from harness.processes import title_of, watching

POOL = """
[pool:hello]
app = hello:app
listen = %(here)s/hello.sock
pm = static
pm.max_children = 1
"""


@pytest.fixture
def fpm():
    with Pyfpm(POOL) as running:
        yield running
        assert fetch(running.address("hello.sock")).status == 200
        assert running.control("status")["pyfpm"]["pid"] == running.process.pid
        assert (running.folder / "pyfpm.pid").read_text() == f"{running.process.pid}\n"


def start_second(fpm, *replacements):
    """Start with the first one's configuration, some lines of it changed."""
    text = fpm.config.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    config = fpm.folder / "second.conf"
    config.write_text(text)
    return run_pyfpm("-c", config, "start")


def test_same_configuration_is_refused_with_the_pid_of_the_first(fpm):
    """The commonest mistake: `pyfpm start` twice."""
    done = fpm.command("start")
    assert done.returncode == 1
    assert done.stderr.startswith("pyfpm: start: pid file ")
    assert f"a master runs with pid {fpm.process.pid}: end it with `pyfpm stop`" in done.stderr


def test_same_control_socket_is_refused_with_the_pid_of_the_first(fpm):
    """Without a pid file the control socket tells who is there."""
    done = start_second(fpm, ("pid = pyfpm.pid", ""), ("hello.sock", "other.sock"))
    assert done.returncode == 1
    assert f"answers on {fpm.folder}/control.sock (pid {fpm.process.pid}): end it" in done.stderr
    assert not (fpm.folder / "other.sock").exists()


def test_same_pid_file_is_refused(fpm):
    """With sockets of its own it would run, and take the first one's pid file."""
    done = start_second(fpm, ("control.sock", "c.sock"), ("hello.sock", "other.sock"))
    assert done.returncode == 1
    assert f"a master runs with pid {fpm.process.pid}" in done.stderr
    assert not (fpm.folder / "other.sock").exists()
    assert not (fpm.folder / "c.sock").exists()


def test_same_address_is_refused_with_its_line(fpm):
    """Two configurations that differ in everything but `listen`."""
    done = start_second(fpm, ("control.sock", "c.sock"), ("pyfpm.pid", "second.pid"))
    assert done.returncode == 78
    assert re.search(r"second\.conf:\d+: \[pool:hello\] listen: bind .*hello\.sock: ", done.stderr)
    assert not (fpm.folder / "c.sock").exists()
    assert not (fpm.folder / "second.pid").exists()


def test_what_a_killed_master_left_does_not_hinder():
    """Its pid file, control socket and listening sockets stay behind a kill -9."""
    with Pyfpm(POOL) as first:
        workers = first.worker_pids("hello")
        with watching(*workers) as ends:
            first.kill()
            ends.wait()
        assert (first.folder / "pyfpm.pid").exists()

        def leave(folder):
            for name in ("pyfpm.pid", "control.sock", "hello.sock"):
                os.rename(first.folder / name, folder / name)

        with Pyfpm(POOL, prepare=leave) as second:
            assert fetch(second.address("hello.sock")).status == 200


@pytest.mark.parametrize("title", ["sleep", "pyfpm: master"])
def test_a_pid_file_that_names_somebody_else_does_not_hinder(title, as_root):
    """The pid was given to another program since, or to one that only calls itself a master."""
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        os.execvp("sleep", [title, "60"])
    try:
        wait_until(lambda: title_of(pid) == f"{title} 60")
        with Pyfpm(POOL, prepare=lambda folder: (folder / "pyfpm.pid").write_text(f"{pid}\n")):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("content", ["", "nonsense", "-1", "9" * 40, "0"])
def test_a_pid_file_with_rubbish_does_not_hinder(content):
    """A full disk truncated it, or it was something else."""
    with Pyfpm(POOL, prepare=lambda folder: (folder / "pyfpm.pid").write_text(content)) as fpm:
        assert (fpm.folder / "pyfpm.pid").read_text() == f"{fpm.process.pid}\n"
