from pathlib import Path

from pyfpm.cli.reference import render_reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


def test_page_in_the_documentation_is_current():
    """docs/reference/cli.md is what `python -m pyfpm.cli.reference` writes."""
    assert PAGE.read_text(encoding="utf-8") == render_reference()
