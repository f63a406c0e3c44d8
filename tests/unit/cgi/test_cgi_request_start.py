"""REQUEST_START in its two forms, and everything that is neither."""

import pytest

from pyfpm.cgi import waited_s

NOW_S = 1_700_000_000.25


@pytest.mark.parametrize(
    ("stamp", "waited"),
    [
        ("1700000000.000", 0.25),
        ("1700000000", 0.25),
        ("1699999990.250", 10),
        ("t=1700000000000000", 0.25),
        ("t=1699999990250000", 10),
        ("1700000000.250", 0),
        ("1699996400.250", 3600),
    ],
)
def test_wait_is_the_difference_of_the_clocks(stamp, waited):
    """Seconds with a fraction (nginx), or microseconds (Apache)."""
    assert waited_s(stamp, NOW_S) == pytest.approx(waited)


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        " ",
        "0",
        "-1",
        "1700000000.500",
        "1699996400.249",
        "1.7e9",
        "1700000000.",
        ".5",
        "nan",
        "inf",
        "0x65",
        "1_700_000_000",
        "١٧٠٠٠٠٠٠٠٠",
        "1700000000.000\n",
        "t=",
        "t=1700000000.5",
        "t=-5",
        "T=1700000000000000",
        "t=" + "9" * 40,
        "9" * 400,
        "(null)",
    ],
)
def test_anything_else_is_no_wait(stamp):
    """Malformed, ahead of our clock, or more than an hour ago."""
    assert waited_s(stamp, NOW_S) is None
