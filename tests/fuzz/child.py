"""The process of one job: `python -m fuzz.child JSON`. It writes what it found into its folder."""

import faulthandler
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.job import Note, copy_corpus


def main() -> None:
    faulthandler.enable()
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    engine = {"own": run_own, "atheris": run_atheris}[job["engine"]]
    engine(job, folder, Note(folder / "note").write)


def run_own(job: dict[str, Any], folder: Path, note: Callable[[bytes], None]) -> None:
    """The search of this folder."""
    from fuzz.corpus import read_inputs
    from fuzz.loop import search
    from fuzz.targets import TARGETS

    check_form(job["form"])
    target = TARGETS[job["target"]]
    done = search(
        target.fuzz,
        list(read_inputs(job["target"]).values()),
        words=target.words,
        seconds=seconds_left(job),
        seed=job["seed"],
        note=note,
    )
    told: dict[str, object] = {"inputs": done.inputs, "kept": done.kept, "reach": done.reach}
    if done.finding:
        (folder / "finding").write_bytes(done.finding.data)
        lines = traceback.format_exception(done.finding.error)
        told |= {"kind": done.finding.kind, "text": "".join(lines)[-4000:]}
    (folder / "told.json").write_text(json.dumps(told))


def run_atheris(job: dict[str, Any], folder: Path, note: Callable[[bytes], None]) -> None:
    """libFuzzer, which ends the process when it is done: its own words are read after that."""
    import atheris

    with atheris.instrument_imports(include=["pyfpm", "fuzz"]):
        from fuzz.targets import TARGETS
    check_form(job["form"])
    target = TARGETS[job["target"]]
    counted = 0

    def tell(kind: str = "", text: str = "") -> None:
        told = {"inputs": counted, "kept": 0, "reach": 0, "kind": kind, "text": text}
        (folder / "told.json").write_text(json.dumps(told))

    def run_one(data: bytes) -> None:
        nonlocal counted
        counted += 1
        note(data)
        try:
            target.fuzz(data)
        except BaseException as error:
            (folder / "finding").write_bytes(data)
            kind = "wrong" if isinstance(error, AssertionError) else "crash"
            tell(kind, traceback.format_exc()[-4000:])
            raise
        if counted & 0xFF == 0:
            tell()

    copy_corpus(job["target"], folder)
    (folder / "words").write_text("".join(f'"{quote(word)}"\n' for word in target.words if word))
    tell()
    arguments = [
        *("fuzz", str(folder / "corpus"), f"-seed={job['seed'] or 1}", "-max_len=4096"),
        *(f"-max_total_time={max(1, round(seconds_left(job)))}", f"-dict={folder / 'words'}"),
        *(f"-artifact_prefix={folder}/found-", "-timeout=60", "-rss_limit_mb=1024"),
    ]
    atheris.Setup(arguments, run_one)
    atheris.Fuzz()


def seconds_left(job: dict[str, Any]) -> float:
    """Of its time, after the start; enough for something however slow that was."""
    return max(0.5, job["until_s"] - time.monotonic())


def quote(word: bytes) -> str:
    """A word as libFuzzer's dictionaries have it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def check_form(wanted: str) -> None:
    """Nothing is proved of a form that does not run."""
    from pyfpm.form import form

    if form.describe().partition(":")[0] != wanted:
        raise SystemExit(f"the {wanted} form does not run here: {form.describe()}")


if __name__ == "__main__":
    main()
