"""What takes the output of others into a file: pyfpm, and peers in the same part.

Each is a context manager that yields a `Collector` beside one process that prints on demand.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.fcgi_client import FcgiClient
from harness.machine import IS_ROOT, temporary_folder, wait_until

from benchmarks import peers
from benchmarks.install import VENV, MissingError
from benchmarks.programs import running

_PATIENCE_S = 60

Print = Callable[[float, float], int]
"""Has lines printed for so many seconds at such a rate, 0 for any; returns how many it were."""


@dataclass(frozen=True)
class Collector:
    """The process whose work is measured, and where its lines go."""

    pid: int
    log: Path
    print_lines: Print


Start = Callable[[Path], AbstractContextManager[Collector]]
"""Takes the folder of the applications."""


@contextlib.contextmanager
def pyfpm(apps: Path, form: str = "text") -> Iterator[Collector]:
    """`catch_workers_output` is on as it is shipped."""
    pool = f"""
[pool:printer]
app = printer:app
directory = {apps}
listen = %(here)s/pool.sock
pm = static
pm.max_children = 1
"""
    main = f"error_log = error.log\nlog_format = {form}"
    with peers.run_pyfpm(pool, main=main, wait_ready=False) as fpm:
        wait_until((fpm.folder / "pool.sock").exists, timeout_s=30)
        ask = partial(_ask, fpm.address("pool.sock"), None)
        yield Collector(fpm.process.pid, fpm.folder / "error.log", ask)


@contextlib.contextmanager
def php_fpm(apps: Path) -> Iterator[Collector]:
    """With `catch_workers_output`, and its lines decorated as it does unless told otherwise."""
    script = apps / "printer.php"
    with peers.php_fpm(script, 1, kept=False, more="catch_workers_output = yes") as responder:
        log = responder.folder / "error.log"
        wait_until((responder.folder / "sock").exists, timeout_s=30)
        yield Collector(responder.pid, log, partial(_ask, responder.route.address, script))


def _ask(address: str, script: Path | None, seconds: float, rate: float) -> int:
    uri = f"/?seconds={seconds}&rate={rate}"
    params = {} if script is None else {"SCRIPT_FILENAME": str(script)}
    with FcgiClient(address, seconds + _PATIENCE_S) as client:
        return int(client.request(uri, params=params).body)


SUPERVISOR = """\
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/pid
{user}

[program:printer]
command = {python} {script} {folder}/orders {folder}/answers
stderr_logfile = {folder}/error.log
stderr_logfile_maxbytes = 0
{user}
"""


@contextlib.contextmanager
def supervisor(apps: Path) -> Iterator[Collector]:
    """Writes what comes as it comes."""
    program = VENV / "bin" / "supervisord"
    if not program.exists():
        raise MissingError(f"{program} is not there")
    user = "user = root" if IS_ROOT else ""
    with _orders() as folder:
        config = folder / "supervisord.conf"
        script = apps / "printer.py"
        config.write_text(
            SUPERVISOR.format(folder=folder, user=user, python=sys.executable, script=script)
        )
        command: list[str | Path] = [program, "-c", config]
        with running(command, folder, user=None) as process:
            yield Collector(process.pid, folder / "error.log", partial(_order, folder))


@contextlib.contextmanager
def cat(apps: Path) -> Iterator[Collector]:
    """`cat > file`: what the kernel and the disk cost."""
    with _orders() as folder:
        command = [sys.executable, apps / "printer.py", folder / "orders", folder / "answers"]
        reader, writer = os.pipe()
        with (folder / "error.log").open("wb") as log:
            one = subprocess.Popen(["cat"], stdin=reader, stdout=log)
            other = subprocess.Popen(command, stderr=writer)
        os.close(reader)
        os.close(writer)
        try:
            yield Collector(one.pid, folder / "error.log", partial(_order, folder))
        finally:
            other.kill()
            other.wait()
            one.wait()


@contextlib.contextmanager
def _orders() -> Iterator[Path]:
    with temporary_folder() as folder:
        for name in ("orders", "answers"):
            os.mkfifo(folder / name)
        yield folder


def _order(folder: Path, seconds: float, rate: float) -> int:
    (folder / "orders").write_text(f"{seconds} {rate}")
    return int((folder / "answers").read_text())


COLLECTORS: dict[str, Start] = {
    "pyfpm, text": pyfpm,
    "pyfpm, JSON": partial(pyfpm, form="json"),
    "PHP-FPM": php_fpm,
    "supervisor": supervisor,
    "cat": cat,
}
