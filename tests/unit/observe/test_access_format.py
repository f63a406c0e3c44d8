"""access.format: what PHP-FPM takes is taken, and anything else is refused with a remedy."""

import re
from datetime import UTC, datetime

import pytest
from harness.machine import REPOSITORY

from pyfpm.observe.access_format import (
    _WITH,
    _WITHOUT,
    COMBINED_FORMAT,
    DEFAULT_FORMAT,
    Placeholder,
    check_access_format,
    format_moment,
    parse_access_format,
    wants_cpu,
)

EVERY = "%C%{user}C%{system}C%{total}C%d%{seconds}d%{milli}d%{micro}d%{HTTP_HOST}e%f%l%m%M%{kilo}M"
EVERY += "%{mega}M%n%{X-A}o%p%P%q%Q%r%R%s%t%{%F}t%T%{%s}T%u%b%%"


@pytest.mark.parametrize("text", [DEFAULT_FORMAT, COMBINED_FORMAT, EVERY, "words %r", "combined"])
def test_format_of_php_fpm_is_taken_as_it_is(text):
    """Every placeholder with every modifier, with and without words."""
    assert check_access_format(text) == text


@pytest.mark.parametrize(("text", "word"), [("JSON", "json"), ("Combined", "combined")])
def test_words_for_whole_formats_have_no_case(text, word):
    """As every other word of the configuration."""
    assert check_access_format(text) == word


def test_format_is_taken_apart_into_words_and_placeholders():
    """Text around placeholders is one piece, percent signs included; modifiers are shortened."""
    assert parse_access_format('a %% b "%{milliseconds}d" %{Content-Type}o') == (
        'a % b "',
        Placeholder("d", "milli", alone=True),
        '" ',
        Placeholder("o", "content-type"),
    )


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        ('"%u"', True),
        ('x "a" "%u" y', True),
        ('"%m %u"', False),
        ('"%m%u"', False),
        ('"a"%u"b"', False),
        ("%u", False),
        ('"%u', False),
    ],
)
def test_placeholder_alone_between_quotes_is_known(text, alone):
    """Nowhere else may a value keep its spaces: the quotes must be its own."""
    found = [one for one in parse_access_format(text) if isinstance(one, Placeholder)]
    assert found[-1].alone is alone or found[-1].letter != "u"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%z", "'%z' is no placeholder; there are %b %C"),
        ("%{a}z", "'%{a}z' is no placeholder"),
        ("100% %r", "'% ' is no placeholder"),
        ("100%", "ends with %; write %%%% for a percent sign"),
        ("%{user", "'%{user' lacks a closing brace"),
        ("%{user}", "ends with %{user}"),
        ("%{x}r", "%{x}r: %r takes nothing in braces"),
        ("%{}s", "%{}s: %s takes nothing in braces"),
        ("%{x}%", "'%{x}%' is no placeholder"),
        ("%{hours}d", "%{hours}d: write one of seconds, milli, micro in the braces, or no braces"),
        ("%{idle}C", "write one of total, user, system"),
        ("%{giga}M", "write one of bytes, kilo, mega"),
        ("%e", "%e: write the name of a FastCGI parameter in braces, as in %{HTTP_HOST}e"),
        ("%{http-host}e", "write the name of a FastCGI parameter"),
        ("%o", "%o: write the name of a response header in braces, as in %{Content-Type}o"),
        ("%{A: b}o", "write the name of a response header"),
        ("%{%n}t", "would write a control character"),
        ("%{%H:%M:%S.%f}T", "%f is not there: times in lines are whole seconds"),
        ("", "is empty; write combined, json or a format such as %R"),
        ("a\tb", "holds a control character"),
        ("comined", "has no placeholder; write combined, json or PHP-FPM's placeholders"),
        ('"combined"', "has no placeholder"),
        ("100%%", "has no placeholder"),
        ("é" * 600, "has 1200 bytes; write at most 1024"),
    ],
)
def test_format_that_means_nothing_is_refused_with_a_remedy(text, message):
    """The text is the end of `file:line: [pool:x] access.format: …`."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is compared
        check_access_format(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("spelling", ["milli", "MILLI", "milliseconds", "mili", "miliseconds"])
def test_every_spelling_of_php_fpm_is_known(spelling):
    """Its own misspelling too."""
    assert parse_access_format(f"%{{{spelling}}}d") == (Placeholder("d", "milli"),)


def test_only_formats_that_say_processor_time_want_it():
    """Two system calls a request are for nobody else."""
    assert wants_cpu("%r %{user}C")
    assert not any(map(wants_cpu, (DEFAULT_FORMAT, "combined", "json", "%%C")))


def test_times_are_english_whatever_the_locale_is():
    """An application may call setlocale, and analysers read English months."""
    moment = datetime(2026, 11, 21, 10, 0, 0, tzinfo=UTC)
    assert format_moment("%a %A %b %h %B %s %d %%b", moment) == (
        "Sat Saturday Nov Nov November 1795255200 21 %b"
    )


def test_every_placeholder_is_explained_and_no_other():
    """The page on logs is what people write formats from."""
    page = (REPOSITORY / "docs" / "reference" / "logs.md").read_text()
    rows = re.findall(r"^\| (`%[^|]*) \|", page, re.MULTILINE)
    shown = {name for row in rows for name in re.findall(r"`(%[^`]+)`", row)}
    shown = {name.replace("{NAME}", "{X}").replace("{FORMAT}", "{%F}") for name in shown}
    letters = {check_access_format(name)[-1] for name in shown if name != "%%"}
    assert letters == {*_WITHOUT, *_WITH}
    for letter in ("C", "d", "M"):
        words = {
            one.argument
            for name in shown
            if name[-1] == letter
            for one in parse_access_format(name)
        }
        assert {f"%{{{word}}}{letter}" for word in words} <= shown
    assert COMBINED_FORMAT in " ".join(page.split())
