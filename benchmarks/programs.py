"""A peer's process: started in a session of its own, and ended with everything below it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from harness.machine import IS_ROOT


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    folder: Path,
    *,
    user: str | None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; its output goes to `folder`/log."""
    identity = {"user": user, "group": user, "extra_groups": []} if user and IS_ROOT else {}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd or folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **(environ or {})},
            start_new_session=True,
            **identity,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], patience_s: float = 5) -> None:
    """SIGTERM, then SIGKILL for whatever of the family is left."""
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)
    _, alive = psutil.wait_procs(family, 2)
    for one in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    if process.poll() is None:
        process.kill()
        process.wait()
    psutil.wait_procs(alive, patience_s)


def end_descendants() -> None:
    """Kill what is left below this process: at the end of a good run, nothing.

    A Ctrl-C between the start of a program and the block that ends it would leave it behind.
    """
    left = psutil.Process().children(recursive=True)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, 5)


def tail(folder: Path, lines: int = 8) -> str:
    """The end of a program's log, to say why it did not start."""
    with contextlib.suppress(FileNotFoundError):
        text = (folder / "log").read_text(errors="replace").strip()
        return " | ".join(text.splitlines()[-lines:])
    return ""
