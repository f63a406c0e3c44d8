"""What every table needs: the options of the run, and responders side by side behind one nginx."""

import contextlib
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from benchmarks.family import Family
from benchmarks.front import running_front, wait_until_answered
from benchmarks.load import Load, run_wrk
from benchmarks.peers import Responder, Starter
from benchmarks.programs import tail

Figures = dict[str, float]

# What may go wrong with one peer or one table without ending the run; the harness of the tests
# fails with an exception of pytest's.
EXCEPTIONS = (Exception, pytest.fail.Exception)


@dataclass
class Run:
    """One run of the benchmarks. `missing` grows: peer to the reason why it is not measured."""

    seconds: int
    rounds: int
    missing: dict[str, str] = field(default_factory=dict)
    table: str = ""  # what is being measured

    def say(self, text: str) -> None:
        print(text, flush=True)

    def miss(self, name: str, reason: str) -> None:
        """Go on without a peer, and say so in the report."""
        self.missing[f"{self.table}: {name}"] = " ".join(reason.split())
        self.say(f"  {name}: {reason}")


@dataclass(frozen=True)
class Table:
    """What is told of one measurement: text for readers, `figures` for programs."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    figures: Mapping[str, object] = field(default_factory=dict)


class SideBySide:
    """Responders that run behind one nginx, by name."""

    def __init__(self, responders: dict[str, Responder], urls: dict[str, str]) -> None:
        self.responders, self.urls = responders, urls
        self.errors = {name: Counter[str]() for name in responders}
        self._families = {name: Family(one.pid) for name, one in responders.items()}

    def load(self, name: str, seconds: int, connections: int = 32, path: str = "/") -> Figures:
        """Load one with wrk; its figures, with the responder's CPU time a request."""
        before = self._families[name].cpu_s()
        load = run_wrk(self.urls[name] + path, seconds, connections)
        used_s = self._families[name].cpu_s() - before
        self.note_errors(name, load)
        return {**load.figures(), "cpu_us": used_s / max(load.requests, 1) * 1e6}

    def note_errors(self, name: str, load: Load) -> None:
        self.errors[name].update(load.errors)


@contextlib.contextmanager
def side_by_side(
    run: Run,
    starters: Mapping[str, Starter],
    expected: str,
    *,
    path: str = "/",
    buffering: bool = True,
) -> Iterator[SideBySide]:
    """Start responders and one nginx; each has given the expected answer once, or is missing."""
    with ExitStack() as stack:
        responders = {}
        for name, start in starters.items():
            try:
                responders[name] = stack.enter_context(start())
            except EXCEPTIONS as error:  # one peer is not the whole run
                run.miss(name, f"did not start: {error}")
        routes = {name: one.route for name, one in responders.items()}
        front = stack.enter_context(running_front(routes, buffering=buffering))
        for name, one in list(responders.items()):
            try:
                wait_until_answered(front.urls[name] + path, expected, timeout_s=15)
            except TimeoutError as error:
                run.miss(name, f"{error}; {tail(one.folder)}")
                del responders[name]
        yield SideBySide(responders, front.urls)


def run_rounds(
    run: Run, names: Sequence[str], measure: Callable[[str], Figures], rounds: int | None = None
) -> dict[str, list[Figures]]:
    """Measure each name once a round, and begin with another one each time.

    So a noisy minute of the machine hits all, and nobody always comes after the same neighbour.
    """
    measured: dict[str, list[Figures]] = {name: [] for name in names}
    for number in range(rounds or run.rounds):
        turn = number % len(names) if names else 0
        for name in [*names[turn:], *names[:turn]]:
            measured[name].append(measure(name))
            first = next(iter(measured[name][-1].items()))
            rate = measured[name][-1].get("rate", first[1])
            run.say(f"  round {number + 1}: {name}: {rate:,.4g}")
    return measured


def medians(measured: Mapping[str, Sequence[Figures]]) -> dict[str, Figures]:
    """The median of each figure over the rounds, by name."""
    return {
        name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for name, rounds in measured.items()
        if rounds
    }
