"""A real pyfpm master in a folder of its own, as a context manager."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from harness.fcgi_client import FcgiClient
from harness.log_reader import LogReader
from harness.machine import (
    IS_ROOT,
    POOL_USER,
    REPOSITORY,
    copy_examples,
    find_pool_python,
    temporary_folder,
    wait_until,
)
from harness.processes import children_of, title_of

from pyfpm.control import ControlClient

READY = r"ready to handle connections"

CONFIGURATION = """\
[pyfpm]
control = control.sock
pid = pyfpm.pid
{main}

[pool-defaults]
{defaults}

{pools}
"""


def run_pyfpm(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line to its end; its result holds text."""
    return subprocess.run(
        [sys.executable, "-m", "pyfpm", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **{"cwd": "/", **options, "env": environment(options.get("env"))},
    )


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without this shell's pyfpm settings, with the package importable."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYFPM_")}
    if "PYFPM_PURE" in os.environ:
        kept["PYFPM_PURE"] = os.environ["PYFPM_PURE"]
    return {**kept, "PYTHONPATH": str(REPOSITORY), **(more or {})}


def reconfigure(master: "Pyfpm", old: str, new: str) -> None:
    """Change the text of the configuration file, which takes a reload to be in force."""
    text = master.config.read_text()
    assert old in text
    master.config.write_text(text.replace(old, new))


class Pyfpm:
    """Runs `pyfpm start` with the given pools until the block ends.

    `pools` is configuration text; relative paths in it start at `folder`, where `app/` holds a
    copy of the examples and of `files` (name to content), so `listen = %(here)s/hello.sock` and
    `app = torture:app` are all that a pool needs. `main` and `defaults` are more lines for
    `[pyfpm]` and `[pool-defaults]`; `prepare` is called with the folder before the start.
    `launcher` is a program that executes the words after it, with `pass_fds` open.

    At the end the master gets SIGTERM and must leave with 0, and no process, socket or pid file
    may be left.
    """

    def __init__(
        self,
        pools: str,
        *,
        main: str = "",
        defaults: str = "",
        files: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        prepare: Callable[[Path], object] | None = None,
        wait_ready: bool = True,
        launcher: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._pools, self._main, self._defaults = pools, main, defaults
        self._files, self._arguments, self._environ = files or {}, arguments, environ
        self._prepare, self._wait_ready = prepare, wait_ready
        self._launcher, self._pass_fds = launcher, pass_fds
        self._stack = ExitStack()
        self._family: dict[int, psutil.Process] = {}
        self._killed = False
        self.folder: Path
        self.log: LogReader
        self.process: subprocess.Popen[bytes]

    # Life

    def __enter__(self) -> Self:
        try:
            self.folder = self._stack.enter_context(temporary_folder())
            self._write()
            self._start()
        except BaseException:
            self._end_everything()
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.process.poll() is None:
                self.stop()
            if kind is None:
                self._assert_nothing_left()
        finally:
            self._end_everything()
            self.log.show("log of the master")
            self._stack.close()

    def _write(self) -> None:
        app = copy_examples(self.folder)
        for name, content in self._files.items():
            (app / name).parent.mkdir(parents=True, exist_ok=True)
            (app / name).write_text(content)
        if self._prepare:
            self._prepare(self.folder)
        defaults = [f"directory = {app}"]
        if IS_ROOT:
            defaults.append(f"user = {POOL_USER}")
        else:  # tests and benchmarks look into processes, which root may anyway
            defaults.append("process.dumpable = yes")
        if python := find_pool_python():
            defaults.append(f"python = {python}")
        named = {line.partition("=")[0].strip() for line in self._defaults.splitlines()}
        defaults = [line for line in defaults if line.partition("=")[0].strip() not in named]
        self.config.write_text(
            CONFIGURATION.format(
                main=self._main, defaults="\n".join([*defaults, self._defaults]), pools=self._pools
            )
        )

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [*self._launcher, *self._words()],
            pass_fds=self._pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=environment(self._environ),
            start_new_session=True,
        )
        assert self.process.stderr is not None
        self.log = LogReader(self.process.stderr)
        if self._wait_ready:
            self.log.wait_for(READY, timeout_s=30)

    def _words(self) -> list[str]:
        words = [sys.executable, "-m", "pyfpm", "-c", str(self.config), "start"]
        return [*words, *self._arguments]

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 40) -> int:
        """Send the signal, wait for the end and return the exit code."""
        self._remember_family()
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        if number != signal.SIGKILL:
            assert code == 0, f"the master ended with {code}:\n{self.log.text()}"
        return code

    def kill(self) -> None:
        """Kill the master alone, as the kernel's memory killer would."""
        self._killed = True
        self.stop(signal.SIGKILL)

    # Looking and asking

    @property
    def config(self) -> Path:
        return self.folder / "pyfpm.conf"

    @property
    def app(self) -> Path:
        return self.folder / "app"

    def address(self, name: str) -> str:
        """Return the address of a socket in the folder, as nginx and Apache write it."""
        return f"unix:{self.folder / name}"

    def client(self, name: str) -> FcgiClient:
        """Connect to a socket in the folder."""
        return FcgiClient(self.address(name))

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `pyfpm -c CONFIG …` against this master."""
        return run_pyfpm("-c", self.config, *arguments)

    def control(self, command: str, **arguments: object) -> dict[str, Any]:
        """Ask the control socket directly."""
        return ControlClient(str(self.folder / "control.sock")).call(command, **arguments)

    def status(self, pool: str | None = None, *, full: bool = False) -> dict[str, Any]:
        """Return what `pyfpm status --format json` prints: all of it, or one pool's part."""
        flags = ["--full"] if full else []
        done = self.command("status", "--format", "json", *flags, *([pool] if pool else []))
        assert done.returncode == 0, done.stderr
        whole = json.loads(done.stdout)
        return whole["pools"][pool] if pool else whole

    def worker_pids(self, pool: str) -> list[int]:
        """Return the pids of the pool's workers."""
        return [process["pid"] for process in self.pool_status(pool, full=True)["processes"]]

    def pool_status(self, pool: str, *, full: bool = False) -> dict[str, Any]:
        """Return one pool's part of the status, asked without a process for the command line."""
        return self.control("status", pool=pool, full=full)["pools"][pool]

    def wait_accepted(self, pool: str, requests: int) -> dict[str, Any]:
        """Return the pool's status once it counts so many requests.

        A request counts when it has ended, which is a moment after its client has the answer.
        """

        def counted() -> dict[str, Any] | None:
            status = self.pool_status(pool)
            return status if status["accepted conn"] >= requests else None

        return wait_until(counted) or {}

    def zygote_pid(self, pool: str) -> int:
        """Return the pid of the pool's zygote; 0 where there is none."""
        title = f"pyfpm: pool {pool} zygote"
        found = [pid for pid in children_of(self.process.pid) if title_of(pid) == title]
        return found[0] if found else 0

    # What is left behind

    def _remember_family(self) -> None:
        """Note every process below the master: afterwards nothing tells whose they were."""
        try:
            for process in psutil.Process(self.process.pid).children(recursive=True):
                self._family[process.pid] = process
        except psutil.NoSuchProcess:
            pass

    def _find_left_processes(self) -> list[psutil.Process]:
        left = {process.pid: process for process in self._family.values() if is_alive(process)}
        for process in psutil.process_iter():
            try:
                inside = Path(process.cwd()).is_relative_to(self.folder)
            except (psutil.Error, OSError):
                continue
            if inside:
                left[process.pid] = process
        return list(left.values())

    def _assert_nothing_left(self) -> None:
        wait_until(lambda: not self._find_left_processes(), timeout_s=10)
        if self._killed:
            return
        left = [
            path
            for path in self.folder.rglob("*")
            if stat.S_ISSOCK(path.lstat().st_mode) or path.suffix == ".pid"
        ]
        assert not left, f"left behind: {left}"

    def _end_everything(self) -> None:
        """Kill what is left of a test that failed, so that it disturbs no other."""
        if not hasattr(self, "process"):
            return
        self._remember_family()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in self._find_left_processes():
            if process.pid != os.getpid():
                process.kill()
        self.log.wait_for_end()


def is_alive(process: psutil.Process) -> bool:
    """Tell whether it still runs; a zombie has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
