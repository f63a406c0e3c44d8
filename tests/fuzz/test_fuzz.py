"""The kept inputs, half a minute of search, and that the search finds what it is there for.

`make test` runs this in both forms, so each gets half of the half minute.
"""

import os
import subprocess
import sys
from argparse import ArgumentTypeError

import pytest
from fuzz.__main__ import choose_engine, list_parts, plan_jobs, read_seconds
from fuzz.corpus import CORPUS, describe_replay, read_inputs
from fuzz.job import Job, Note, environment_of, run_job
from fuzz.loop import search
from fuzz.targets import TARGETS

from pyfpm.form import form

SECONDS = float(os.environ.get("PYFPM_FUZZ_SECONDS", "15"))
SEED = int(os.environ.get("PYFPM_FUZZ_SEED", "1"))
WEIGHTS = sum(target.weight for target in TARGETS.values())
FORM = form.describe().partition(":")[0]


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_treated_right(name):
    """What once reached far, or once was wrong, is right."""
    inputs = read_inputs(name)
    assert inputs
    for file, data in inputs.items():
        try:
            TARGETS[name].fuzz(data)
        except Exception as error:
            error.add_note(describe_replay(CORPUS / name / file))
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_short_search_finds_nothing(name):
    """A part of what `make fuzz` does, with the same dice every time."""
    seconds = SECONDS * TARGETS[name].weight / WEIGHTS
    outcome = run_job(Job(name, FORM, "own", seconds, SEED))
    if outcome.file:
        pytest.fail(f"{outcome.text}\n{outcome.file.name}: {describe_replay(outcome.file)}")
    assert outcome.inputs > len(read_inputs(name))


def test_every_folder_of_the_corpus_has_a_target():
    """An input in a folder that nobody reads proves nothing."""
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


# -- the time ---------------------------------------------------------------------------------


def run_parts(seconds, parts, cost_s):
    """What a run of so many seconds does, where a job takes `cost_s` more than it was given."""
    jobs = []

    def elapsed():
        return sum(job.seconds + cost_s for job in jobs)

    for job in plan_jobs(parts, "own", seconds, 1, elapsed):
        jobs.append(job)  # noqa: PERF402 - the next one is asked for after this one ran
    return jobs, elapsed()


PARTS = list_parts(list(TARGETS), ["plain", "compiled"], 1)


@pytest.mark.parametrize("cost_s", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("seconds", [0.1, 5, 20, 600])
def test_seconds_bound_the_whole_run(seconds, cost_s):
    """Whatever a start costs, no job begins after the time: only the last one may end after it."""
    jobs, ended_s = run_parts(seconds, PARTS, cost_s)
    assert ended_s <= max(seconds, 1.0) + 1.0 + cost_s
    assert [(job.target, job.form) for job in jobs] == PARTS[: len(jobs)]
    assert jobs


def test_long_run_has_a_turn_for_every_target_by_its_weight():
    """Ten minutes are enough for all of them, and are used."""
    jobs, ended_s = run_parts(600, PARTS, 2.0)
    assert len(jobs) == len(PARTS)
    assert ended_s > 590
    assert all(job.seconds > 2 for job in jobs)


def test_order_is_that_of_the_seed():
    """Short runs with several seeds reach every target."""
    assert list_parts(list(TARGETS), ["plain"], 1) == list_parts(list(TARGETS), ["plain"], 1)
    firsts = {list_parts(list(TARGETS), ["plain"], seed)[0] for seed in range(200)}
    assert firsts == {(name, "plain") for name in TARGETS}


def test_short_run_does_without_the_engine_that_is_slow_to_start():
    """Most of the time would go into starting it."""
    assert choose_engine(has_atheris=True, share_s=1.0) == "own"
    assert choose_engine(has_atheris=True, share_s=30.0) == "atheris"
    assert choose_engine(has_atheris=False, share_s=30.0) == "own"


@pytest.mark.parametrize("text", ["-5", "0", "", "ten", "nan", "inf", "1e999"])
def test_seconds_that_are_no_time_are_refused(text):
    """With the text; nothing is searched."""
    with pytest.raises(ArgumentTypeError, match="is no number of seconds above 0"):
        read_seconds(text)
    assert read_seconds("0.5") == 0.5


# -- the search itself -----------------------------------------------------------------------


def guarded(data):
    """Three steps, each of which is found by reaching the one before."""
    if data[:1] != b"F":
        return
    if data[1:2] != b"C":
        return
    if data[2:3] == b"G":
        raise KeyError(data)


def wrong(data):
    assert len(data) < 30, "too long"


def endless(data):
    while len(data) > 4:
        pass


def find(fuzz, **options):
    return search(
        fuzz, [b"."], **{"words": (), "seconds": 60, "seed": 7, "most_cpu_s": 0.2, **options}
    ).finding


def test_crash_behind_several_conditions_is_found_and_made_small():
    """New steps lead the search; chance alone would need sixteen million inputs."""
    finding = find(guarded)
    assert (finding.kind, finding.data) == ("crash", b"FCG")


def test_wrong_answer_is_found_and_made_small():
    """An assertion is told apart from a crash."""
    finding = find(wrong)
    assert (finding.kind, len(finding.data)) == ("wrong", 30)


def test_hang_is_found():
    """No input may use up the processor."""
    finding = find(endless)
    assert finding.kind == "hang"
    assert len(finding.data) > 4


def test_same_seed_tries_the_same_inputs():
    """A seed that found something finds it again."""
    tried = []
    for _ in range(2):
        tried.append([])
        find(wrong, note=tried[-1].append)
    assert tried[0] == tried[1]


def run_code(code):
    """In a process of its own, whose memory is not that of all the tests before."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment_of("plain"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_memory_that_grows_is_found():
    """Whatever an input makes the process hold, or hold for a moment."""
    code = """
from fuzz.loop import search
def grow(data):
    if len(data) > 8:
        bytearray(b"x" * 300_000_000)
print(search(grow, [b"."], words=(), seconds=60, seed=7).finding.kind)
"""
    assert run_code(code).stdout == "memory\n"


def test_input_that_killed_the_interpreter_is_known(tmp_path):
    """What compiled code may do leaves no exception, only a note of what ran."""
    note = tmp_path / "note"
    note.write_bytes(bytes(1 << 20))
    code = f"""
import ctypes
from pathlib import Path
from fuzz.job import Note
from fuzz.loop import search
def die(data):
    if len(data) > 8:
        ctypes.string_at(0)
search(die, [b"."], words=(), seconds=60, seed=7, note=Note(Path({str(note)!r})).write)
"""
    assert run_code(code).returncode < 0
    assert len(Note(note).read()) > 8
