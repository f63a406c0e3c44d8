"""`pyfpm run`: an application over HTTP, without any configuration."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest
from harness.http_client import HttpClient
from harness.log_reader import LogReader
from harness.machine import (
    IS_ROOT,
    find_closed_folder,
    free_port,
    temporary_folder,
    wait_until,
)
from harness.master import environment, is_alive

APP = """\
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {os.environ.get('FLAVOUR')} {environ['PATH_INFO']}".encode()]
"""


class Run:
    """`pyfpm run …` in a folder of its own, with app.py in it; ended with SIGINT at the end."""

    def __init__(self, *arguments, user=None):
        self.port = free_port()
        self._arguments = arguments
        self._user = user

    def __enter__(self):
        self._folder = temporary_folder()
        self.folder = self._folder.__enter__()
        self.folder.chmod(0o777)
        (self.folder / "app.py").write_text(APP)
        who = {"user": self._user, "group": self._user, "extra_groups": []} if self._user else {}
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pyfpm", "run", *(self._arguments or ("app:app",))),
                *("--listen", f"127.0.0.1:{self.port}"),
            ],
            cwd=self.folder,
            env=environment({"TMPDIR": str(self.folder), "FLAVOUR": "lemon"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **who,
        )
        self.out = LogReader(self.process.stdout)
        self.log = LogReader(self.process.stderr)
        return self

    def __exit__(self, *_):
        family = self.family()
        try:
            if self.process.poll() is None:
                # As Ctrl-C does: the whole foreground group, front end included.
                os.killpg(self.process.pid, signal.SIGINT)
                assert self.process.wait(20) == 0
            wait_until(lambda: not [process for process in family if is_alive(process)])
        finally:
            for process in family:
                if is_alive(process):
                    process.kill()
            self.log.wait_for_end()
            print(self.log.text())
            self._folder.__exit__(None, None, None)

    def family(self):
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def named(self, word):
        """The processes below the command whose title holds the word."""
        found = []
        for process in self.family():
            with suppress(psutil.NoSuchProcess):  # the forks between zygote and worker are short
                if word in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def front(self):
        (front,) = self.named("pyfpm: front")
        return front

    def wait_ready(self):
        return self.out.wait_for(r"pyfpm: (http://\S+)")[1]

    def left_folders(self):
        return list(self.folder.glob("pyfpm-run-*"))


def test_application_is_served_at_the_printed_url():
    """One line with the URL; the current folder is importable and the environment is passed on."""
    with Run() as run:
        assert run.wait_ready() == f"http://127.0.0.1:{run.port}/"
        with HttpClient(run.port) as client:
            body = client.request("GET", "/x").text
        assert re.fullmatch(r"\d+ lemon /x", body)
        assert run.left_folders()
        os.killpg(run.process.pid, signal.SIGINT)
        assert run.process.wait(20) == 0
        assert not run.left_folders()


def test_number_of_workers_is_what_was_asked():
    """--workers sets the size of the pool."""
    with Run("app:app", "--workers", "3") as run:
        run.wait_ready()
        # Ready means that one worker serves; the others follow.
        wait_until(lambda: len(run.named("worker")) == 3)


@pytest.mark.usefixtures("as_root")
def test_root_is_told_and_only_the_front_end_is_somebody_else():
    """As root the application runs as root, and says so; what listens to the network does not."""
    with Run() as run:
        run.wait_ready()
        run.log.wait_for("the application runs as root")
        assert run.front().uids().effective != 0
        assert {p.uids().effective for p in run.named("pyfpm: pool")} == {0}
        # Nobody but the front end's user (and root) may connect to the pool.
        (socket,) = run.folder.glob("pyfpm-run-*/app.sock")
        assert socket.stat().st_mode & 0o777 == 0o600
        assert socket.stat().st_uid == run.front().uids().effective


def test_ordinary_user_can_run_too():
    """Without root everything is the user's own."""
    if IS_ROOT and find_closed_folder(sys.executable):
        pytest.skip("other users cannot execute this interpreter")
    with Run(user=65534 if IS_ROOT else None) as run:
        run.wait_ready()
        with HttpClient(run.port) as client:
            assert client.request("GET", "/").status == 200
        assert run.log.find("as root") == []


def test_port_in_use_is_an_error_at_once():
    """Exit code 1 and one line, before anything is started."""
    with Run() as first:
        first.wait_ready()
        second = Run()
        second.port = first.port
        with second:
            assert second.process.wait(20) == 1
            second.log.wait_for_end()
            assert second.log.lines() == [
                f"pyfpm: run: listen on 127.0.0.1:{first.port}: address already in use"
            ]
            assert not second.left_folders()


def test_missing_application_is_exit_code_1_and_named():
    """An application that cannot be imported ends the command with the reason."""
    with Run("nothere:app") as run:
        assert run.process.wait(20) == 1
        run.log.wait_for("no module named 'nothere'")
        run.log.wait_for_end()
        assert not run.left_folders()


def test_death_of_the_front_end_ends_the_master():
    """Without its front end the master has nothing to do."""
    with Run() as run:
        run.wait_ready()
        run.front().kill()
        assert run.process.wait(20) == 1
        assert not run.left_folders()


def test_death_of_the_master_ends_everything():
    """A master that is killed leaves no front end and no workers."""
    with Run() as run:
        run.wait_ready()
        family = run.family()
        assert len(family) >= 3
        run.process.kill()
        run.process.wait()
        wait_until(lambda: not [process for process in family if is_alive(process)])
