"""The pre-pass: supervisor's dialect through ConfigObj, compared with configparser itself."""

import configparser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfpm.config.dialect import Rewriter
from pyfpm.config.reader import parse_sections


def read(text):
    """Values by section and key, and the problems, of a file's text."""
    sections, problems = parse_sections(text.encode(), "f")
    values = {s.name: {key: entry.text for key, entry in s.entries.items()} for s in sections}
    return values, [str(problem) for problem in problems]


def value_of(line):
    """The value that one key line gives."""
    values, problems = read(f"[s]\n{line}\n")
    assert not problems
    ((_, value),) = values["s"].items()
    return value


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("k=v ; c", "v"),
        ("k=v # c", "v"),
        ("k=v\t; c", "v"),
        ("k=a;b", "a;b"),
        ("k=x --c=#fff", "x --c=#fff"),
        ("k=ab#cd", "ab#cd"),
        ("k=#foo", "#foo"),
        ("k= #foo", ""),
        ("k=a,b", "a,b"),
        ("k=0,2", "0,2"),
        ('k=A="1",B="2"', 'A="1",B="2"'),
        ('k=A="x, y"', 'A="x, y"'),
        ('k="/bin/my prog" -x', '"/bin/my prog" -x'),
        ("k='abc", "'abc"),
        ("k=don't", "don't"),
        ('k="/tmp"', '"/tmp"'),
        ("k=sh -c 'a ; b'", "sh -c 'a"),
        ("k: v", "v"),
        ("k: v --x=1", "v --x=1"),
        ("k=%(x)s %% 50% %(n)02d", "%(x)s %% 50% %(n)02d"),
        ('k="""x"""', '"""x"""'),
        ("k='''x'''", "'''x'''"),
        ('k="""', '"""'),
        ('k="', '"'),
        ('k=""', '""'),
        ("k='", "'"),
        ('k=x"', 'x"'),
        ('k=\'""" and x', '\'""" and x'),
        ("k=", ""),
        ("k =    v   ", "v"),
        ("k=a=b:c", "a=b:c"),
        ("k=ü\N{EURO SIGN}", "ü\N{EURO SIGN}"),
        ("k=\\n\\", "\\n\\"),
        ("k=a\n  b\n  c", "a\nb\nc"),
        ("k=\n  a\n\n  b", "a\n\nb"),
        ("k=a\n  ; hidden\n  b ; cut\n# hidden\n  c", "a\nb\nc"),
        ("k=a\n  x = 1\n  [no section]", "a\nx = 1\n[no section]"),
        ('k=A="1",\n  B="2"', 'A="1",\nB="2"'),
    ],
)
def test_value_is_what_supervisor_reads(line, value):
    """No quote, comma, hash or bracket of a value is taken for syntax."""
    assert value_of(line) == value


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("; comment\n# comment\n  ; k = v\n", {}),
        ("[s] ; c\n", {"s": {}}),
        ("[ s ]\n", {" s ": {}}),
        ('["s"]\n', {'"s"': {}}),
        ("[[sub]]\nk=v\n", {"[sub]": {"k": "v"}}),
        ("[pool:a]\nCommand=x\n", {"pool:a": {"command": "x"}}),
        ("[s]\nENV[Path]=x\n", {"s": {"env[Path]": "x"}}),
        ("[s]\nhttp://x = 1\n", {"s": {"http": "//x = 1"}}),
        ("[s]\n  a = 1\n  b = 2\n", {"s": {"a": "1", "b": "2"}}),
        ("[s]\na = 1\n[t]\na = 2\n", {"s": {"a": "1"}, "t": {"a": "2"}}),
        ("[DEFAULT]\na = 1\n[s]\n", {"DEFAULT": {"a": "1"}, "s": {}}),
        ("[s]\r\na = 1\r\n  2\r\n", {"s": {"a": "1\n2"}}),
        ("\ufeff[s]\na = 1", {"s": {"a": "1"}}),
        ("[s]\n'a\"b = 1\n", {"s": {"'a\"b": "1"}}),
        ("[s]\np[] = 1\np[] = 2\n", {"s": {"p[]": "1\n2"}}),
        ("", {}),
    ],
)
def test_sections_and_keys_are_what_the_file_says(text, sections):
    """Comments vanish, names are verbatim, keys lower case outside of brackets, key[] adds up."""
    assert read(text) == (sections, [])


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "[s]\n\njunk\n",
            ["f:3: 'junk' is neither a [section] nor a comment; write a setting as key = value"],
        ),
        ("[s]\n= v\n", ["f:2: '= v' has no key; write it as key = value"]),
        (
            "\nk = v\n",
            ["f:2: k stands before any section; begin with [pyfpm] or [pool:NAME]"],
        ),
        ("[s\nk = v\n", ["f:1: '[s' is not a section; write it as [pool:shop]"]),
        ("[]\n", ["f:1: '[]' is not a section; write it as [pool:shop]"]),
        ("[s] k = v\n", ["f:1: [s]: 'k = v' after the ] would be lost; remove it"]),
        (
            "[s]\nk = 1\nj = 2\nK = 3\n",
            ["f:4: [s] k: is set twice, first at f:2; leave one of them out"],
        ),
        (
            "[s]\nk = \"\"\" '''\n",
            ["f:2: [s] k: a value cannot hold both \"\"\" and '''; take one of them out"],
        ),
        ("[s]\nk = \0\n", ["f:2: the line holds a NUL byte; remove it"]),
        (
            "[s]\nuser\nk = 1\n'\n",
            [
                "f:2: 'user' is neither a [section] nor a comment; write a setting as key = value",
                'f:4: "\'" is neither a [section] nor a comment; write a setting as key = value',
            ],
        ),
    ],
)
def test_broken_line_is_named_with_its_number(text, problems):
    """Every broken line gives one problem at its own number."""
    assert read(text)[1] == problems


def test_bytes_that_are_not_utf8_are_named_line_by_line():
    """Each undecodable line is a problem with the byte; the rest is read."""
    sections, problems = parse_sections(b"[s]\na = \xff\nb = 1\nc = \xfe\n", "f")
    assert [str(problem) for problem in problems] == [
        "f:2: byte 0xff is not UTF-8; save the file as UTF-8",
        "f:4: byte 0xfe is not UTF-8; save the file as UTF-8",
    ]
    assert sections[0].entries["b"].text == "1"


def test_entries_know_their_lines_below_a_long_value():
    """Comments inside and after a long value do not shift the numbers below it."""
    text = "[s]\nk = a\n  ; gone\n  b\n; gone\n\nl = 1\nbroken\n"
    sections, problems = parse_sections(text.encode(), "f")
    assert sections[0].entries["l"].line == 7
    assert problems[0].line == 8


_LINES = st.lists(
    st.sampled_from(
        ["[a]", "[b] ; c", "k = v", "  more", "\tx = 1 # c", "; c", "", "junk", "j:", '"""', "["]
    )
    | st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=12),
    max_size=20,
)


@settings(deadline=None)
@given(_LINES)
def test_pre_pass_keeps_the_number_of_every_line(lines):
    """As many lines come out as go in, and no marked key or header moves."""
    rewriter = Rewriter("f")
    rewriter.rewrite(lines)
    assert len(rewriter.lines) == len(lines)
    for section in rewriter.sections:
        assert rewriter.lines[section.line - 1].startswith("[")
        for key in section.keys:
            assert rewriter.lines[key.line - 1].startswith('"')


_KEYS = st.sampled_from(["k", "Key", "a.b", "x y"])
_PLAIN = [*"ab \t\"'=:%,[]\\{}$éà", '"""', "'''"]


def _texts(mark):
    return st.lists(st.sampled_from([*_PLAIN, mark, f" {mark}"]), max_size=12).map("".join)


# One comment sign a line: with both, configparser does not always cut at the first one.
_VALUES = _texts(";") | _texts("#")
_BODY = st.lists(
    st.builds("{} = {}".format, _KEYS, _VALUES)
    | st.builds("  {}{}".format, st.sampled_from("ab'\"=:"), _VALUES)
    | st.builds("  {}: {}".format, _KEYS, _VALUES)
    | st.sampled_from(["", "; c", "# c = d", "   ; c", "[t]", "[u:v]"]),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(_BODY)
def test_any_file_reads_as_configparser_reads_it(body):
    """Supervisor's own parser is the referee: same sections, keys and values, or both refuse."""
    text = "\n".join(["[s]", *body])
    referee = configparser.RawConfigParser(
        strict=True, inline_comment_prefixes=(";", "#"), default_section="\0"
    )
    values, problems = read(text)
    try:
        referee.read_string(text)
    except configparser.DuplicateSectionError:
        return  # found later, over all files at once
    except configparser.Error:
        assert problems
        return
    expected = {
        section: {key: value.strip() for key, value in referee.items(section)}
        for section in referee.sections()
    }
    if any('"""' in v and "'''" in v for s in expected.values() for v in s.values()):
        return
    assert (values, problems) == (expected, [])
