"""`make fuzz`: every target in every form for its share of the time, or one input once more."""

import argparse
import importlib.util
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from fuzz.corpus import describe_replay
from fuzz.job import Job, environment_of, run_job
from fuzz.targets import TARGETS

_LEAST_S = 1.0
_WORTH_ATHERIS_S = 10.0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=read_seconds, default=600.0, help="of all (600)")
    parser.add_argument("--seed", type=int, default=1, help="the dice (1)")
    parser.add_argument("--only", action="append", choices=TARGETS, metavar="TARGET")
    parser.add_argument("--engine", choices=("own", "atheris"), help="atheris where it is there")
    parser.add_argument("--input", type=Path, help="run this file once, in this process")
    return parser.parse_args()


def read_seconds(text: str) -> float:
    """Seconds above 0, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def main() -> int:
    options = parse_options()
    if options.input:
        return replay(options.input)
    begun = time.monotonic()
    has_atheris = importlib.util.find_spec("atheris") is not None
    forms = ["plain", *(["compiled"] if has_compiled_form() else [])]
    if len(forms) == 1:
        print("the compiled form is not built (make compiled): the plain one alone")
    parts = list_parts(options.only or list(TARGETS), forms, options.seed)
    engine = options.engine or choose_engine(
        has_atheris=has_atheris, share_s=options.seconds / len(parts)
    )
    print(f"{options.seconds:g} s with {engine}, seed {options.seed}", flush=True)
    found = 0
    done = 0
    for job in plan_jobs(
        parts, engine, options.seconds, options.seed, lambda: time.monotonic() - begun
    ):
        done += 1
        outcome = run_job(job)
        print(
            f"{job.target:14} {job.form:9} {job.seconds:6.1f} s {outcome.inputs:9,} inputs"
            f" {outcome.kept:5,} kept {outcome.reach:6,} steps",
            flush=True,
        )
        if outcome.file:
            found += 1
            print(f"\n{outcome.text}\n{outcome.file.name}: {describe_replay(outcome.file)}\n")
    if left_out := parts[done:]:
        names = ", ".join(f"{name} ({form})" for name, form in left_out)
        print(f"no time for {names}: another seed has another order, more SECONDS has all")
    print(f"{time.monotonic() - begun:.0f} s, {found or 'no'} findings")
    return 1 if found else 0


def choose_engine(*, has_atheris: bool, share_s: float) -> str:
    """Atheris where it is there, and where a part of the run is worth the seconds of its start."""
    if not has_atheris:
        print("atheris is not installed: our own search alone")
        return "own"
    if share_s < _WORTH_ATHERIS_S:
        print(f"atheris takes seconds to start, for {share_s:.1f} s each: our own search alone")
        return "own"
    return "atheris"


def list_parts(names: list[str], forms: list[str], seed: int) -> list[tuple[str, str]]:
    """Targets and forms in the order of the dice; what is not compiled runs in the plain form."""
    parts = [
        (name, form) for name in names for form in forms if form == "plain" or TARGETS[name].is_hot
    ]
    Random(seed).shuffle(parts)
    return parts


def plan_jobs(
    parts: list[tuple[str, str]],
    engine: str,
    seconds: float,
    seed: int,
    elapsed: Callable[[], float],
) -> Iterator[Job]:
    """Each part gets its share, as long as there is time; the first one always.

    A share is one of the time that is left, because some of it goes into starting processes.
    """
    weights = sum(TARGETS[name].weight for name, _ in parts)
    for number, (name, form) in enumerate(parts):
        weight = TARGETS[name].weight
        left = seconds - elapsed()
        if number and left < _LEAST_S:
            return
        yield Job(name, form, engine, max(_LEAST_S, left * weight / weights), seed)
        weights -= weight


def has_compiled_form() -> bool:
    """Whether a process that is not told otherwise runs it."""
    code = "from pyfpm.form import form; print(form.describe())"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env=environment_of("compiled"),
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip() == "compiled"


def replay(file: Path) -> int:
    """Run one input of the corpus: its folder names the target."""
    target = TARGETS.get(file.resolve().parent.name)
    if target is None or not file.is_file():
        known = ", ".join(TARGETS)
        print(f"{file}: no input; name a file in a folder called as its target: {known}")
        return 2
    target.fuzz(file.read_bytes())
    print(f"{file}: nothing is wrong with it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
