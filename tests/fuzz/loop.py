"""The search of our own: mutate what reached new code, keep what reaches more."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from fuzz.mutations import Mutator
from fuzz.reach import Reach
from fuzz.watch import MOST_CPU_S, HangError, MemoryGrowthError, Watch

LONGEST_BYTES = 4096
_LONGEST_GIANT_BYTES = 200_000
_MINIMISING_S = 3.0


@dataclass(frozen=True)
class Finding:
    """An input and what is wrong with it."""

    kind: str
    data: bytes
    error: BaseException


@dataclass
class Search:
    """What a search did."""

    inputs: int = 0
    kept: int = 0
    reach: int = 0
    finding: Finding | None = None


def kind_of(error: BaseException) -> str:
    """In a word, for file names."""
    if isinstance(error, HangError):
        return "hang"
    if isinstance(error, MemoryGrowthError | MemoryError):
        return "memory"
    return "wrong" if isinstance(error, AssertionError) else "crash"


def search(
    fuzz: Callable[[bytes], None],
    corpus: Sequence[bytes],
    *,
    words: Sequence[bytes],
    seconds: float,
    seed: int,
    note: Callable[[bytes], None] = lambda _: None,
    most_cpu_s: float = MOST_CPU_S,
) -> Search:
    """Fuzz for so long, or to the first finding. `note` is told each input before it runs.

    No input may take more than `most_cpu_s` of processor time.

    The same seed tries the same inputs in the same order, as far as the time goes.
    """
    random = Random(seed)
    mutator = Mutator(random, words, LONGEST_BYTES)
    giants = Mutator(random, words, _LONGEST_GIANT_BYTES)
    watch, reach, done = Watch(fuzz, most_cpu_s=most_cpu_s), Reach(), Search()
    pool = list(corpus) or [b""]
    deadline = time.monotonic() + seconds

    def try_one(data: bytes) -> bool:
        done.inputs += 1
        note(data)
        try:
            return reach.watch(watch, data) > 0
        # Whatever a target lets out is what we are here for.
        except (Exception, HangError) as error:  # noqa: BLE001 - see above
            done.finding = Finding(kind_of(error), data, error)
            return False

    with watch.armed():
        for data in pool:
            try_one(data)
            if done.finding:
                break
        watch.settle()
        while not done.finding and time.monotonic() < deadline:
            # The newest reach furthest.
            old = random.choice(pool[-8:] if random.random() < 0.3 else pool)
            made_by = giants if random.random() < 0.002 else mutator
            data = made_by.mutate(old, random.choice(pool))
            if try_one(data):
                pool.append(data)
                done.kept += 1
        if done.finding and done.finding.kind in {"crash", "wrong"}:
            done.finding = minimise(watch, done.finding)
    done.reach = len(reach)
    return done


def minimise(run: Callable[[bytes], None], finding: Finding) -> Finding:
    """The same finding with less input, as far as a few seconds take it."""
    deadline = time.monotonic() + _MINIMISING_S
    size = len(finding.data) // 2
    while size and time.monotonic() < deadline:
        smaller = _cut_one(run, finding, size, deadline)
        if smaller is None:
            size //= 2
        else:
            finding = smaller
    return finding


def _cut_one(
    run: Callable[[bytes], None], finding: Finding, size: int, deadline: float
) -> Finding | None:
    """Leave out one piece of that size, if the same kind of error remains."""
    for at in range(0, len(finding.data), size):
        if time.monotonic() > deadline:
            return None
        data = finding.data[:at] + finding.data[at + size :]
        try:
            run(data)
        except (Exception, HangError) as error:  # noqa: BLE001 - what the search is about
            if type(error) is type(finding.error):
                return Finding(finding.kind, data, error)
    return None
