"""`pyfpm start -D`: the command waits until the service is ready, and its code says whether."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from harness.fcgi_client import fetch
from harness.machine import POOL_USER, copy_examples, find_pool_python, temporary_folder, wait_until
from harness.master import environment, run_pyfpm
from harness.processes import process_fields, title_of, watching
from harness.service_manager import NotifySocket, launcher

CONFIGURATION = """\
[pyfpm]
control = control.sock
pid = pyfpm.pid
error_log = log
process_control_timeout = 2s
{main}
[pool:hello]
app = {app}
directory = app
listen = ./hello.sock
pm = static
pm.max_children = 1
{more}
"""
STUCK = "import time\nopen('{folder}/marks/importing', 'w').close()\ntime.sleep(60)\n"


class Folder:
    """A folder with a configuration; ends what was started from it."""

    def __init__(self, path):
        self.path = path
        copy_examples(path)
        self.marks = path / "marks"
        self.marks.mkdir()
        self.marks.chmod(0o777)

    def write(self, *, app="hello:app", main="", more=""):
        lines = [more, f"user = {POOL_USER}" if os.getuid() == 0 else ""]
        if python := find_pool_python():
            lines.append(f"python = {python}")
        text = CONFIGURATION.format(app=app, main=main, more="\n".join(lines))
        (self.path / "pyfpm.conf").write_text(text)

    def command(self, *arguments, **options):
        return run_pyfpm("-c", "pyfpm.conf", *arguments, cwd=self.path, **options)

    @property
    def pid(self):
        return int((self.path / "pyfpm.pid").read_text())

    @property
    def log(self):
        return (self.path / "log").read_text()

    def end(self):
        if (self.path / "pyfpm.pid").exists():
            with watching(self.pid) as ends:
                assert self.command("stop").returncode == 0
                ends.wait()


@pytest.fixture
def folder():
    with temporary_folder() as path:
        made = Folder(path)
        try:
            yield made
        finally:
            made.end()
        sockets = [entry for entry in path.iterdir() if entry.suffix in (".sock", ".pid")]
        assert not sockets, "left behind"


def test_daemon_serves_when_the_command_has_ended(folder):
    """Code 0, the words of a start on the terminal, pid file, control socket, own session, in /."""
    folder.write()
    done = folder.command("start", "-D")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"fpm is running, pid {folder.pid}\nready to handle connections\n"
    assert fetch(f"unix:{folder.path}/hello.sock").status == 200
    assert folder.command("status").returncode == 0
    assert title_of(folder.pid).startswith("pyfpm: master")
    assert os.getsid(folder.pid) == folder.pid
    assert os.readlink(f"/proc/{folder.pid}/cwd") == "/"
    for standard in range(3):
        assert os.readlink(f"/proc/{folder.pid}/fd/{standard}") == "/dev/null"


def test_daemonize_in_the_file_does_the_same(folder):
    """`daemonize = yes`, and a stop that takes everything with it."""
    folder.write(main="daemonize = yes")
    done = folder.command("start")
    assert done.returncode == 0, done.stderr
    with watching(folder.pid) as ends:
        assert folder.command("stop").returncode == 0
        ends.wait()
    assert "bye-bye" in folder.log


def test_daemon_keeps_nothing_that_the_command_inherited(folder):
    """A lock or a pipe of the script that started it would be held for good."""
    folder.write()
    reader, writer = os.pipe()
    done = folder.command("start", "-D", pass_fds=[writer])
    assert done.returncode == 0, done.stderr
    os.close(writer)
    os.set_blocking(reader, False)  # somebody else who holds it is an error, not a wait
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_all_pools_failed_is_1(folder):
    """And the terminal is told where to look."""
    folder.write(app="no_such_module:app")
    done = folder.command("start", "-D")
    assert done.returncode == 1
    assert "no pool could start its application" in done.stderr
    assert "no_such_module" in folder.log


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        ("daemonize = yes\nerror_log = stderr", []),
        ("error_log = stderr", ["-D"]),
        ("error_log = /dev/stderr", ["-D"]),
        ("error_log = /proc/self/fd/2", ["-D"]),
    ],
)
def test_a_log_on_the_terminal_is_78(folder, main, arguments):
    """A daemon has no terminal; the message names the line and what to set."""
    folder.write(main=main)
    text = (folder.path / "pyfpm.conf").read_text().replace("error_log = log\n", "")
    (folder.path / "pyfpm.conf").write_text(text)
    done = folder.command("start", *arguments)
    assert done.returncode == 78
    number = text.splitlines().index(main.splitlines()[-1]) + 1
    assert f"pyfpm.conf:{number}: [pyfpm] error_log: a master in the background" in done.stderr
    assert "set error_log to a file or to syslog" in done.stderr


def test_an_address_in_use_is_78_with_the_line(folder):
    """What only the daemon notices arrives on the terminal and in the code."""
    folder.write()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = (folder.path / "pyfpm.conf").read_text().replace("./hello.sock", address)
        (folder.path / "pyfpm.conf").write_text(text)
        done = folder.command("start", "-D")
    assert done.returncode == 78
    number = text.splitlines().index(f"listen = {address}") + 1
    assert (
        f"{folder.path}/pyfpm.conf:{number}: [pool:hello] listen: bind {address}: " in done.stderr
    )


def test_a_second_daemon_is_1_and_harms_nobody(folder):
    """The pid of the first, and the first goes on."""
    folder.write()
    assert folder.command("start", "-D").returncode == 0
    first = folder.pid
    done = folder.command("start", "-D")
    assert done.returncode == 1
    assert f"a master runs with pid {first}" in done.stderr
    assert folder.pid == first
    assert fetch(f"unix:{folder.path}/hello.sock").status == 200
    assert folder.command("status").returncode == 0


def start(folder, before=(), **options):
    return subprocess.Popen(
        [*before, sys.executable, "-m", "pyfpm", "-c", "pyfpm.conf", "start", "-D"],
        cwd=folder.path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_to_the_waiting_command_ends_the_daemon_too(folder, number, code):
    """Ctrl-C while the application is still being imported."""
    folder.write(app="stuck:app")
    (folder.path / "app" / "stuck.py").write_text(STUCK.format(folder=folder.path))
    with start(folder) as command:
        wait_until((folder.marks / "importing").exists)
        with watching(folder.pid) as ends:
            command.send_signal(number)
            assert command.wait(20) == code
            ends.wait()


def test_a_daemon_that_is_killed_is_missed(folder):
    """It could say nothing, so the command does."""
    folder.write(app="stuck:app")
    (folder.path / "app" / "stuck.py").write_text(STUCK.format(folder=folder.path))
    with start(folder) as command:
        wait_until((folder.marks / "importing").exists)
        os.kill(folder.pid, signal.SIGKILL)
        _, said = command.communicate(timeout=20)
    assert command.returncode == 70
    assert "the daemon ended on signal 9 (Killed) before it was ready" in said
    for name in ("pyfpm.pid", "hello.sock", "control.sock"):
        (folder.path / name).unlink()


def test_a_daemon_told_to_stop_before_it_is_ready_is_1(folder):
    """It ended as it should, but nobody is served."""
    folder.write(app="stuck:app")
    (folder.path / "app" / "stuck.py").write_text(STUCK.format(folder=folder.path))
    with start(folder) as command:
        wait_until((folder.marks / "importing").exists)
        assert folder.command("stop").returncode == 0
        _, said = command.communicate(timeout=20)
    assert command.returncode == 1
    assert "stopped before it was ready" in said


def test_a_daemon_whose_terminal_goes_away_serves_on(folder):
    """The command is killed while it waits: the daemon becomes ready all the same."""
    folder.write(app="slow:app")
    slow = STUCK.replace("60", "1").format(folder=folder.path)
    (folder.path / "app" / "slow.py").write_text(f"{slow}from hello import app\n")
    with start(folder) as command:
        wait_until((folder.marks / "importing").exists)
        command.kill()
        command.stderr.close()
    wait_until(lambda: "ready to handle connections" in folder.log)
    assert fetch(f"unix:{folder.path}/hello.sock").status == 200


def test_daemon_tells_its_own_pid_to_the_service_manager(folder):
    """systemd started the command, and must watch the daemon."""
    folder.write()
    with NotifySocket() as manager:
        done = folder.command("start", "-D", env={"NOTIFY_SOCKET": manager.address})
        assert done.returncode == 0, done.stderr
        assert manager.wait_for("READY")["MAINPID"] == str(folder.pid)
        folder.end()


def test_daemon_gets_the_sockets_that_were_passed_to_the_command(folder):
    """LISTEN_PID is the command's; what else it inherited goes, these stay."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder.path / "passed"))
        os.chmod(folder.path / "passed", 0o666)
        sock.listen()
        folder.write()
        text = (folder.path / "pyfpm.conf").read_text().replace("./hello.sock", "systemd:web")
        (folder.path / "pyfpm.conf").write_text(text)
        before = launcher("web", [sock])
        with start(folder, before, pass_fds=[sock.fileno()]) as command:
            _, said = command.communicate(timeout=20)
        assert command.returncode == 0, said
    assert fetch(f"unix:{folder.path}/passed").status == 200


def test_daemon_takes_signals_as_a_master_in_the_foreground(folder):
    """Nothing stays blocked or ignored that the command's side of the fork had changed."""
    folder.write()
    assert folder.command("start", "-D").returncode == 0
    assert int(process_fields(folder.pid)["SigBlk"], 16) == 0
    with watching(folder.pid) as ends:
        os.kill(folder.pid, signal.SIGTERM)
        ends.wait()
    assert "bye-bye" in folder.log
