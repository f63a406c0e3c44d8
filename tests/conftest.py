"""Fixtures for all tests."""

import pytest
from harness.machine import IS_ROOT

from pyfpm.form import form


def pytest_report_header() -> str:
    """Say in which form pyfpm is tested."""
    return f"pyfpm: {form.describe()}"


@pytest.fixture
def as_root() -> None:
    """Skip a test of users and groups where the tests do not run as root.

    Not a failure in CI either: a hosted runner that is not root tests everything else.
    """
    if not IS_ROOT:
        pytest.skip("changing the user needs root")
