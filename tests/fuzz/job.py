"""One target in one form for some seconds, in a process of its own: whatever it does is seen.

A crash of the interpreter itself, which compiled code is capable of, leaves no exception. So each
input is noted in a shared file before it runs, and the parent reads there what it was.
"""

import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz.corpus import CORPUS, keep_finding
from harness.machine import REPOSITORY

_NOTE_BYTES = 1 << 20
_LONGEST_NOTE = _NOTE_BYTES - 8
_LIBFUZZER = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)")
_PATIENCE_S = 120.0
"""Beyond its time: for the start, the last input and making it smaller."""


@dataclass(frozen=True)
class Job:
    """`form` is plain or compiled, `engine` own or atheris; `seconds` with its start."""

    target: str
    form: str
    engine: str
    seconds: float
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of a job; `file` is where the finding's input was put, None without one."""

    inputs: int
    kept: int
    reach: int
    text: str = ""
    file: Path | None = None


class Note:
    """The input that runs now, as another process can read it after this one is gone."""

    def __init__(self, path: Path) -> None:
        with open(path, "r+b") as file:
            self._area = mmap.mmap(file.fileno(), _NOTE_BYTES)

    def write(self, data: bytes) -> None:
        """Note an input."""
        data = data[:_LONGEST_NOTE]
        self._area[8 : 8 + len(data)] = data
        self._area[:8] = len(data).to_bytes(8, "little")

    def read(self) -> bytes:
        """The last one."""
        return self._area[8 : 8 + int.from_bytes(self._area[:8], "little")]


def run_job(job: Job) -> Outcome:
    """Run it, and put the input of a finding into the corpus."""
    with tempfile.TemporaryDirectory(prefix="pyfpm-fuzz-") as name:
        folder = Path(name)
        told = {**asdict(job), "folder": name, "until_s": time.monotonic() + job.seconds}
        (folder / "note").write_bytes(bytes(_NOTE_BYTES))
        process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.child", json.dumps(told)],
            env=environment_of(job.form) | {"TMPDIR": name},
            cwd=name,
            stdout=(folder / "out").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(job.seconds + _PATIENCE_S)
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return _read_outcome(job, folder, code)


def environment_of(form: str) -> dict[str, str]:
    """For a child in that form."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYFPM_")}
    path = os.pathsep.join((str(REPOSITORY / "tests"), str(REPOSITORY)))
    return {**kept, "PYTHONPATH": path, **({"PYFPM_PURE": "1"} if form == "plain" else {})}


def copy_corpus(target: str, folder: Path) -> Path:
    """The kept inputs where a search may add its own."""
    copy = folder / "corpus"
    if (CORPUS / target).is_dir():
        shutil.copytree(CORPUS / target, copy)
    else:
        copy.mkdir()
    return copy


def _read_outcome(job: Job, folder: Path, code: int) -> Outcome:
    said = (folder / "out").read_text(errors="backslashreplace")
    told = folder / "told.json"
    if told.exists():
        outcome = json.loads(told.read_text())
    elif code == 0:
        raise RuntimeError(f"{job}: ended and told nothing: {said}")
    else:
        outcome = {"inputs": 0, "kept": 0, "reach": 0, "kind": _kind_of_death(code), "text": said}
    if progress := _LIBFUZZER.findall(said):
        outcome["reach"], outcome["kept"] = map(int, progress[-1])
    kind = outcome.pop("kind", "")
    if not kind:
        return Outcome(**outcome)
    if kind == "broken":
        raise RuntimeError(f"{job}: {said}")
    found = folder / "finding"
    data = found.read_bytes() if found.exists() else Note(folder / "note").read()
    return Outcome(**outcome, file=keep_finding(job.target, kind, data))


def _kind_of_death(code: int) -> str:
    """What a child that told nothing died of."""
    if code == -signal.SIGALRM:
        return "hang"
    return "crash" if code < 0 else "broken"
