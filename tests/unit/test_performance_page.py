"""The page about performance says what was measured."""

import json

import pytest
from harness.machine import REPOSITORY

from benchmarks import aims, report

FOLDER = REPOSITORY / "docs" / "explanation"


@pytest.fixture(scope="module")
def document():
    return json.loads((FOLDER / "performance.json").read_text())


def test_figures_of_a_kept_run_are_those_on_the_page(document):
    """Nobody has changed a number by hand, in the page or in the JSON."""
    _, written, _ = report.split_page(FOLDER / "performance.md")
    assert written == report.render_page(document).strip()


def test_verdicts_of_a_kept_run_follow_from_its_figures(document):
    """Whether an aim is reached is what the aims, as they are now, say of the measured figures."""
    tables = {name: table["figures"] for name, table in document["tables"].items()}
    assert document["aims"] == aims.judge(tables)


def test_run_that_measured_nothing_is_judged_by_nothing():
    """An aim whose figures are not there is left out, not failed."""
    assert aims.judge({}) == []
