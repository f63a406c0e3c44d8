"""Times, sizes, booleans and modes as text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfpm.units import (
    counted,
    format_boolean,
    format_mode,
    format_size,
    format_time,
    parse_boolean,
    parse_mode,
    parse_size,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("30s", 30.0),
        ("5m", 300.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("1m500ms", 60.5),
        ("1H", 3600.0),
    ],
)
def test_time_written_in_any_unit_is_read_in_seconds(text, seconds):
    """Every form of the contract gives its seconds; PHP-FPM's traps (500ms, 1h30m) do not."""
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5x", "-1", "1.5s", "30m1h", "5m5m", "1 h", "٣", "ms"])
def test_time_in_another_form_is_refused(text):
    """What is no time raises ValueError that says how to write one."""
    with pytest.raises(ValueError, match="write it as 30, 30s, 5m, 500ms or 1h30m"):
        parse_time(text)


@pytest.mark.parametrize("text", ["1" * 13, "1" * 13 + "s", "1h" + "9" * 5000 + "M"])
def test_time_of_too_many_digits_is_too_large(text):
    """Its form is right, and nobody should look for a wrong unit."""
    with pytest.raises(ValueError, match="is too large; write less"):
        parse_time(text)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**12))
def test_formatted_time_reads_back(milliseconds):
    """parse_time is the inverse of format_time, to the millisecond."""
    seconds = milliseconds / 1000
    assert parse_time(format_time(seconds)) == seconds


def test_time_is_formatted_in_its_largest_units():
    """The shortest text is chosen."""
    assert [format_time(s) for s in (0, 0.5, 75, 5400)] == ["0s", "500ms", "1m15s", "1h30m"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("64KB", 65536),
        ("64k", 65536),
        ("1M", 1 << 20),
        ("1 MB", 1 << 20),
        ("1GiB", 1 << 30),
        ("2T", 2 << 40),
        ("7B", 7),
    ],
)
def test_size_in_any_unit_is_read_in_bytes(text, size):
    """Every unit is a power of 1024, in any case."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5M", "1X", "1 M B", "1KBs"])
def test_size_in_another_form_is_refused(text):
    """What is no size raises ValueError that says how to write one."""
    with pytest.raises(ValueError, match="write it as 512, 64KB, 1M or 1GiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1" * 16, "1" * 16 + " GiB", "9" * 5000 + "k"])
def test_size_of_too_many_digits_is_too_large(text):
    """As for times."""
    with pytest.raises(ValueError, match="is too large; write less"):
        parse_size(text)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_formatted_size_reads_back(size):
    """parse_size is the inverse of format_size."""
    assert parse_size(format_size(size)) == size


def test_size_is_formatted_without_loss():
    """A unit is used only where it divides the size."""
    assert [format_size(s) for s in (0, 1000, 65536, 1 << 20)] == ["0", "1000", "64K", "1M"]


@pytest.mark.parametrize("text", ["yes", "on", "true", "1", "YES", "On"])
def test_words_for_yes_are_true(text):
    """All words of the contract count, in any case."""
    assert parse_boolean(text) is True


@pytest.mark.parametrize("text", ["no", "off", "false", "0", "NO"])
def test_words_for_no_are_false(text):
    """All words of the contract count, in any case."""
    assert parse_boolean(text) is False


@pytest.mark.parametrize("text", ["", "y", "2", "maybe"])
def test_other_words_are_neither_yes_nor_no(text):
    """Anything else is refused rather than read as no."""
    with pytest.raises(ValueError, match="write yes or no"):
        parse_boolean(text)


@pytest.mark.parametrize("value", [True, False])
def test_formatted_boolean_reads_back(value):
    """parse_boolean is the inverse of format_boolean."""
    assert parse_boolean(format_boolean(value)) is value


@pytest.mark.parametrize("text", ["", "888", "0o660", "-1", "00660", "rw"])
def test_mode_that_is_not_octal_is_refused(text):
    """Only one to four octal digits are a mode."""
    with pytest.raises(ValueError, match="octal digits, such as 0660"):
        parse_mode(text)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=0o7777))
def test_formatted_mode_reads_back(mode):
    """parse_mode is the inverse of format_mode, which always writes four digits."""
    assert parse_mode(format_mode(mode)) == mode
    assert len(format_mode(mode)) == 4


def test_count_has_the_noun_in_its_number():
    """One of a thing is no plural, none of it is."""
    assert [counted(n, "worker") for n in (0, 1, 2)] == ["0 workers", "1 worker", "2 workers"]
    assert counted(1, "worker waits", "workers wait") == "1 worker waits"
    assert counted(3, "worker waits", "workers wait") == "3 workers wait"
