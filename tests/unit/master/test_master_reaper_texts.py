"""How the log words the end of a process."""

import pytest

from pyfpm.master.reaper import Death, Reaper


@pytest.mark.parametrize(
    ("death", "text"),
    [
        (Death(code=0, signum=None), "with code 0"),
        (Death(code=255, signum=None), "with code 255"),
        (Death(code=None, signum=9), "on signal 9 (SIGKILL)"),
        (Death(code=None, signum=11), "on signal 11 (SIGSEGV)"),
        (Death(code=None, signum=40), "on signal 40 (unknown)"),
    ],
)
def test_death_is_told_as_php_fpm_tells_it(death, text):
    """Log parsers look for these words; a real-time signal has no name and must not raise."""
    assert death.text == text


def test_reaper_knows_who_is_watched_and_no_early_death_of_others():
    """A second claim to a pid is a lie."""
    reaper = Reaper()
    reaper.watch(4711, lambda death: None)
    assert reaper.knows(4711)
    assert not reaper.knows(4712)
    assert reaper.early_death(4711) is None
