"""Fixtures for all tests."""

import signal

import pytest
from harness.machine import IS_ROOT

from pyfpm.form import form

# A shell starts what goes to the background (`make test &`) with the first two ignored, and nohup
# with the third, and so would everything be that the tests start; a command that is started so
# passes no Ctrl-C on.
for _signum, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, _usual)


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
