"""The grammar of `environment=`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfpm.config.environment import format_environment, parse_environment


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ('A="1",B="2"', {"A": "1", "B": "2"}),
        ("A=1,B=two/three.4+5-6():_", {"A": "1", "B": "two/three.4+5-6():_"}),
        ('A="x, y",B=\'it"s\'', {"A": "x, y", "B": 'it"s'}),
        (' A = "1" , B = "2" , ', {"A": "1", "B": "2"}),
        ('\nA="1",\nB="2"', {"A": "1", "B": "2"}),
        ('A=""', {"A": ""}),
        (r'A="say \"hi\" \\ \n"', {"A": r'say "hi" \ \n'}),
        (r"A='C:\new'", {"A": r"C:\new"}),
    ],
)
def test_pairs_are_read_as_supervisor_writes_them(text, pairs):
    """Bare and quoted values, blanks, line breaks and a comma at the end."""
    assert dict(parse_environment(text)) == pairs


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("A=1 B=2", "a comma is missing before 'B=2'"),
        ('A="1"B="2"', "a comma is missing before"),
        ("A=1;B=2", "a comma is missing before ';B=2'"),
        ("A=,B=2", 'A= has no value; write A="" for an empty one'),
        ("A=", "A= has no value"),
        ("A", "'A' is not NAME=value"),
        ("A=1,,B=2", "',B=2' is not NAME=value"),
        ("1A=1", "is not NAME=value"),
        ('A="1', "the quote after A= is never closed"),
        ("A='1", "the quote after A= is never closed"),
        ("A=%x", "the value of A needs quotes"),
        ("A=1,A=2", "A stands twice"),
        ("A=a=b", "a comma is missing before '=b'"),
    ],
)
def test_what_supervisor_would_misread_is_refused(text, complaint):
    """Supervisor takes such a text for other variables than those meant."""
    with pytest.raises(ValueError, match=complaint):
        parse_environment(text)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
        st.text(st.characters(exclude_characters="\0")),
    )
)
def test_formatted_environment_reads_back(environment):
    """parse_environment is the inverse of format_environment for any value."""
    assert dict(parse_environment(format_environment(environment))) == environment
