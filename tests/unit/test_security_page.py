"""The security page: every test that it names as its proof exists."""

import re

from harness.machine import REPOSITORY

PAGE = REPOSITORY / "docs" / "explanation" / "security.md"


def test_every_test_on_the_security_page_exists() -> None:
    """A wall whose test was renamed or removed is a wall that nobody looks at."""
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    defined = {
        name
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 30
    assert sorted(named - defined) == []
