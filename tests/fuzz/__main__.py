"""`make fuzz`: every target in every form for its share of the time, or one input once more."""

import argparse
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fuzz.corpus import describe_replay
from fuzz.job import Job, environment_of, run_job
from fuzz.targets import TARGETS

_LEAST_S = 1.0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of all together (600)")
    parser.add_argument("--seed", type=int, default=1, help="the dice (1)")
    parser.add_argument("--only", action="append", choices=TARGETS, metavar="TARGET")
    parser.add_argument("--engine", choices=("own", "atheris"), help="atheris where it is there")
    parser.add_argument("--input", type=Path, help="run this file once, in this process")
    return parser.parse_args()


def main() -> int:
    options = parse_options()
    if options.input:
        return replay(options.input)
    has_atheris = importlib.util.find_spec("atheris") is not None
    engine = options.engine or ("atheris" if has_atheris else "own")
    if not has_atheris:
        print("atheris is not installed: our own search alone")
    forms = ["plain", *(["compiled"] if has_compiled_form() else [])]
    if len(forms) == 1:
        print("the compiled form is not built (make compiled): the plain one alone")
    print(f"{options.seconds:.0f} s with {engine}, seed {options.seed}", flush=True)
    begun = time.monotonic()
    found = 0
    for job in plan_jobs(options.only or list(TARGETS), forms, engine, options, begun):
        outcome = run_job(job)
        print(
            f"{job.target:14} {job.form:9} {job.seconds:6.1f} s {outcome.inputs:9,} inputs"
            f" {outcome.kept:5,} kept {outcome.reach:6,} steps",
            flush=True,
        )
        if outcome.file:
            found += 1
            print(f"\n{outcome.text}\n{outcome.file.name}: {describe_replay(outcome.file)}\n")
    print(f"{time.monotonic() - begun:.0f} s, {found or 'no'} findings")
    return 1 if found else 0


def plan_jobs(
    names: list[str],
    forms: list[str],
    engine: str,
    options: argparse.Namespace,
    begun_s: float,
) -> Iterator[Job]:
    """Each target gets its share; code that is not compiled runs in the plain form alone.

    A share is one of the time that is left, because some of it goes into starting processes.
    """
    chosen = [
        (name, form) for name in names for form in forms if form == "plain" or TARGETS[name].is_hot
    ]
    weights = sum(TARGETS[name].weight for name, _ in chosen)
    for name, form in chosen:
        weight = TARGETS[name].weight
        left = options.seconds - (time.monotonic() - begun_s)
        yield Job(name, form, engine, max(_LEAST_S, left * weight / weights), options.seed)
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
