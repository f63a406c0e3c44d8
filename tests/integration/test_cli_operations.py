"""reload, restart, stop POOL, start-pool, scale, trace, reopen-logs and upgrade at the terminal.

The master is a control server whose commands are the test's own: what counts here is what is sent
to it, and what the operator sees.
"""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager

import pytest
from harness.control import running_server
from harness.master import environment, run_pyfpm

from pyfpm.control import Command
from pyfpm.errors import ControlError

RELOADED = {
    "pools": {
        "blog": {"generation": 2, "draining": 0},
        "shop": {"generation": 7, "draining": 1},
        "wiki": {"generation": 3, "draining": 4},
    },
    "draining": ["pool shop: child 71 since 12 s: GET /export\x1b[2J"],
}

SHOP = {
    "pool": "shop",
    "process manager": "static",
    "idle processes": 0,
    "active processes": 0,
    "total processes": 0,
    "max children": 2,
    "listen queue": 0,
    "accepted conn": 7,
    "requests 5xx": 0,
    "parked connections": 0,
    "generation": 1,
}


class StubMaster:
    """Remembers what was asked, reports `progress`, then answers or fails."""

    def __init__(self, folder):
        self.config = folder / "pyfpm.conf"
        self.path = folder / "control.sock"
        self.config.write_text(
            f"[pyfpm]\ncontrol = {self.path}\n[pool:shop]\napp = a:b\nlisten = ./s\n"
        )
        self.asked = []
        self.progress = []
        self.answer = {}
        self.go_on = None

    def commands(self, *names):
        return {name: Command(self._handler(name), changes=True) for name in names}

    def _handler(self, name):
        async def handle(arguments, call):
            self.asked.append((name, arguments))
            for line in self.progress:
                call.progress(line)
            if self.go_on is not None:
                await self.go_on.wait()
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return handle

    def run(self, *arguments):
        names = ("reload", "restart", "stop", "start-pool", "scale", "trace", "reopen-logs")
        with running_server(self.path, self.commands(*names, "upgrade")):
            return run_pyfpm("-c", self.config, *arguments)


@pytest.fixture
def master(tmp_path):
    return StubMaster(tmp_path)


@pytest.mark.parametrize(
    ("typed", "asked", "said"),
    [
        (["reload"], ("reload", {"pools": []}), ""),
        (["reload", "shop", "blog"], ("reload", {"pools": ["shop", "blog"]}), ""),
        (["restart", "shop"], ("restart", {"pool": "shop"}), "pool shop: all workers are new\n"),
        (
            ["stop", "shop", "blog"],
            ("stop", {"pools": ["shop", "blog"], "now": False}),
            "pool shop: stopped\npool blog: stopped\n",
        ),
        (
            ["stop", "shop", "--now"],
            ("stop", {"pools": ["shop"], "now": True}),
            "pool shop: stopped\n",
        ),
        (["start-pool", "shop"], ("start-pool", {"pools": ["shop"]}), "pool shop: serves\n"),
        (
            ["scale", "shop", "8"],
            ("scale", {"pool": "shop", "workers": 8}),
            "pool shop: pm.max_children is 8 until its next reload\n",
        ),
    ],
)
def test_command_sends_what_was_typed_and_says_what_came_of_it(master, typed, asked, said):
    """In a line on stdout, also for who reads no exit codes."""
    master.answer = {"pools": {}, "draining": []}
    done = master.run(*typed)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert master.asked == [asked]


def test_reload_shows_progress_then_what_serves_and_what_drains(master):
    """Progress is on stderr as plain lines; what stdout holds can be used by a script."""
    master.progress = ["pool shop: generation 7 boots", "pool shop: 3 of 8 workers replaced"]
    master.answer = RELOADED
    done = master.run("reload")
    assert done.returncode == 0
    assert done.stderr.splitlines() == master.progress
    assert done.stdout.splitlines() == [
        "pool blog: generation 2 serves",
        "pool shop: generation 7 serves, 1 older worker still drains",
        "pool wiki: generation 3 serves, 4 older workers still drain",
        r"draining: pool shop: child 71 since 12 s: GET /export\x1b[2J",
    ]


def test_refused_reload_is_exit_code_1_with_every_line_of_the_reason(master):
    """Problems of the configuration arrive with file and line, a boot failure with its traceback.

    What an application wrote cannot control the operator's terminal.
    """
    problems = "refused:\n/etc/pyfpm/pools.d/a.conf:3: [pool:a] pm: what\nImportError: \x1b]0;x\x07"
    master.answer = ControlError(problems, 1)
    done = master.run("reload")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "pyfpm: reload: " + problems.replace("\x1b", r"\x1b").replace("\x07", r"\x07") + "\n"
    )


def test_upgrade_says_which_version_serves(master):
    """After an upgrade the operator knows what runs, under which process id."""
    master.answer = {"version": "0.2.0", "pid": 4711, **RELOADED, "draining": []}
    done = master.run("upgrade")
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == [
        "pyfpm 0.2.0 serves, pid 4711",
        "pool blog: generation 2 serves",
    ]


@pytest.mark.parametrize(
    ("typed", "pid"), [(["trace", "shop"], None), (["trace", "shop", "4711"], 4711)]
)
def test_trace_prints_the_stacks(master, typed, pid):
    """The text is a result: on stdout, one line break at its end, no control characters."""
    master.answer = {"text": '[pool shop] pid 4711\n  File "a.py", line 3, in f\x1b[31m'}
    done = master.run(*typed)
    assert done.stdout == master.answer["text"].replace("\x1b", r"\x1b") + "\n"
    assert master.asked == [("trace", {"pool": "shop", "pid": pid})]


def test_reopen_logs_prints_the_files(master):
    """One path a line; a master that logs to no file says so."""
    master.answer = {"files": ["/var/log/pyfpm.log", "/var/log/shop.slow"]}
    assert master.run("reopen-logs").stdout == "/var/log/pyfpm.log\n/var/log/shop.slow\n"
    master.answer = {"files": []}
    done = master.run("reopen-logs")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no log is a file" in done.stderr


@pytest.mark.parametrize(
    "typed", [["restart"], ["start-pool"], ["scale", "shop"], ["scale", "shop", "0"], ["trace"]]
)
def test_missing_or_wrong_argument_is_exit_code_64(master, typed):
    """Nothing is sent to the master then."""
    done = master.run(*typed)
    assert done.returncode == 64
    assert master.asked == []


# Where the tests themselves run in the background, SIGINT is ignored, and children inherit that.
INTERRUPTIBLE = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pyfpm.cli import main
sys.exit(main())
"""


@contextmanager
def reload_under_way(master, *, env=None, **options):
    """`pyfpm reload` as a process, which is gone when the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "-c", master.config, "reload"],
        env=environment(env),
        cwd="/",
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_ends_the_watching_and_says_that_the_reload_goes_on(master):
    """Exit code 130, and the master's work is not touched."""
    master.go_on, master.progress = asyncio.Event(), ["pool shop: generation 7 boots"]
    master.answer = RELOADED
    with (
        running_server(master.path, master.commands("reload")) as running,
        reload_under_way(master, stderr=subprocess.PIPE, text=True) as command,
    ):
        assert command.stderr.readline() == "pool shop: generation 7 boots\n"
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=10)
        assert command.returncode == 130
        assert "the reload goes on in the master" in said
        assert len(running.server._clients) == 1
        running.call(master.go_on.set)


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        ({"NO_COLOR": ""}, b"\x1b[2mpool shop: generation 7 boots\x1b[0m\r\n"),
        ({"NO_COLOR": "1"}, b"pool shop: generation 7 boots\r\n"),
    ],
)
def test_progress_is_dimmed_on_a_terminal_unless_no_color_is_set(master, env, shown):
    """Colours are for terminals whose user wants them."""
    master.progress, master.answer = (
        ["pool shop: generation 7 boots"],
        {"pools": {}, "draining": []},
    )
    ours, theirs = pty.openpty()
    try:
        with (
            running_server(master.path, master.commands("reload")),
            reload_under_way(master, stderr=theirs, env=env) as command,
        ):
            assert command.wait(20) == 0
        assert os.read(ours, 1000) == shown
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("columns", [80, None])
def test_status_is_fitted_to_a_terminal_and_whole_elsewhere(master, columns):
    """The reason is broken where the terminal ends; in a pipe each pool has one line."""
    reason = "import failed: " + "because " * 40 + "of this"
    master.answer = {"pools": {"shop": {**SHOP, "state": "degraded", "reason": reason}}}
    with running_server(master.path, master.commands("status")):
        text = run_in_terminal(columns, "-c", master.config, "status")
    shown = text.splitlines()[3:]
    assert " ".join(line.strip() for line in shown) == f"shop: degraded: {reason}"
    assert len(shown) == (5 if columns else 1)
    assert columns is None or max(map(len, shown)) <= columns


def run_in_terminal(columns, *arguments):
    """What a command prints, in a terminal of so many columns, or into a pipe (None)."""
    if columns is None:
        return run_pyfpm(*arguments).stdout
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environ = {key: value for key, value in environment().items() if key != "COLUMNS"}
    try:
        command = [sys.executable, "-m", "pyfpm", *map(str, arguments)]
        subprocess.run(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, check=True, timeout=60
        )
        return os.read(ours, 65536).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)
