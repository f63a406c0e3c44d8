"""What the tests need to know about the machine they run on, and the folders they work in."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from pyfpm.kernel.landlock import missing_walls, read_support

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
IS_ROOT = os.getuid() == 0
# Pools of a root master run as the user of the web servers, as on most machines.
POOL_USER = next(
    (entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "www-data"), "nobody"
)

needs_sandbox = pytest.mark.skipif(
    bool(missing_walls(read_support())), reason="this kernel lacks a part of the sandbox"
)


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"true", "1", "yes"}


def web_server_missing(path: str) -> None:
    """Skip on a laptop, fail in CI: there a missing server would hide what was never tested."""
    message = f"{path} is not installed (make packages)"
    if is_ci():
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    """Find a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_closed_folder(path: str | Path) -> Path | None:
    """Find the first folder on the way to `path` that other users cannot enter."""
    resolved = Path(path).resolve()
    folders = [*reversed(resolved.parents)]
    return next((folder for folder in folders if not folder.stat().st_mode & 1), None)


def is_open_to_others(path: str | Path) -> bool:
    return find_closed_folder(path) is None


def is_usable_by_others() -> bool:
    """Tell whether another user could run pyfpm from here."""
    return is_open_to_others(REPOSITORY) and is_open_to_others(sys.executable)


def find_pool_python() -> str | None:
    """Find an interpreter that a pool's own user can execute; None where the master's own will do.

    A clone below a private folder has its .venv there too. The interpreter that it was made from
    lies outside and serves every application that needs no packages.
    """
    if not IS_ROOT or is_usable_by_others():
        return None
    return os.path.realpath(sys.executable)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that every user may enter, close to the root: socket paths are short."""
    folder = Path(tempfile.mkdtemp(prefix="pyfpm-test-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def copy_examples(folder: Path) -> Path:
    """Copy the example applications to where a pool's user can read them."""
    target = folder / "app"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES, target, ignore=ignored)
    return target


def make_venv(folder: Path, *packages: str) -> Path:
    """Make a virtual environment with these packages of ours and nothing else: no pyfpm, no pip.

    Nothing is downloaded: the packages are linked, or copied where a pool's user could not follow
    the link.
    """
    base = os.path.realpath(sys.executable)
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    for package in packages:
        spec = importlib.util.find_spec(package)
        assert spec is not None, f"{package} is not installed"
        assert spec.origin is not None
        source = Path(spec.origin)
        if source.name == "__init__.py":
            source = source.parent
        if is_open_to_others(source):
            (site / source.name).symlink_to(source)
        elif source.is_dir():
            shutil.copytree(source, site / source.name)
        else:
            shutil.copy(source, site)
    return folder


def wait_until(look: Callable[[], T], timeout_s: float = 10, interval_s: float = 0.02) -> T:
    """Look until what is seen is true, and return it; fail with the last look after the deadline.

    For states that nothing announces. Where a log line announces one, LogReader.wait_for is
    exact and cheaper.
    """
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"still {seen!r} after {timeout_s} s")
        time.sleep(interval_s)
    return seen
