"""Lines of the access log: what each placeholder writes, and that no client can forge one."""

import json
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.observe import compile_access_format
from pyfpm.observe.access_format import COMBINED_FORMAT, DEFAULT_FORMAT

HEAD = (
    b"Status: 404 Not Found\r\nContent-Type: text/html; charset=utf-8\r\n"
    b"X-A: one\r\nX-A: two\r\nSet-Cookie: a=\xe9\r\n\r\n"
)
ANSWER = SimpleNamespace(status=404, body_bytes=321, head=HEAD, fd=-1)
NONE_SENT = SimpleNamespace(status=0, body_bytes=0, head=b"", fd=-1)
ENVIRON = {
    "REQUEST_METHOD": "POST",
    "REQUEST_URI": "/shop/a%20b?x=1",
    "SCRIPT_NAME": "/shop",
    "PATH_INFO": "/a b",
    "QUERY_STRING": "x=1",
    "SCRIPT_FILENAME": "/srv/shop.py",
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_USER": "ann",
    "CONTENT_LENGTH": "17",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "example.org",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11)",
}
ENDED_S = 1795255200.5  # 21 November 2026, 10:00:00 UTC
LASTED_NS = 1_234_567_890


class Measured:
    """Says fixed numbers."""

    def cpu_percent(self, kind, duration_ns):
        return {"total": 30.0, "user": 20.0, "system": 10.0}[kind] + (duration_ns != LASTED_NS)

    def peak_bytes(self):
        return 3 * 1024 * 1024 + 5

    def peer(self, response):
        return "198.51.100.2"


def renderer(text, *, has_peers=True, longest_bytes=None):
    make = compile_access_format(text, pool="shop", pid=7, master_pid=3, has_peers=has_peers)
    render = make(longest_bytes)

    def line(environ=ENVIRON, answer=ANSWER, duration_ns=LASTED_NS):
        return render(environ, answer, duration_ns, ENDED_S, Measured())

    return line


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    """Lines show local time, and the machine that runs this may be anywhere."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("%%", "%"),
        ("{%m} {{}} '\\", "{POST} {{}} '\\"),
        ("%C %{total}C %{user}C %{system}C", "30.00 30.00 20.00 10.00"),
        ("%d %{seconds}d %{milli}d %{micro}d", "1.235 1.235 1234.568 1234567"),
        ("%{HTTP_HOST}e %{HTTP_X}e", "example.org -"),
        ("%f", "/srv/shop.py"),
        ("%l", "17"),
        ("%m", "POST"),
        ("%M %{bytes}M %{kilo}M %{mega}M", "3145733 3145733 3072 3"),
        ("%n", "shop"),
        ("%{content-type}o", r"text/html;\x20charset=utf-8"),
        ('"%{content-type}o"', '"text/html; charset=utf-8"'),
        ("%{x-a}o %{Set-Cookie}o %{A}o", r"one a=\xE9 -"),
        ("%p %P", "7 3"),
        ("%r%Q%q", "/shop/a%20b?x=1"),
        ("%R", "198.51.100.2"),
        ("%s %b", "404 321"),
        ("%t", "21/Nov/2026:09:59:59 +0000"),
        ("%T", "21/Nov/2026:10:00:00 +0000"),
        ("%{%F %T}t %{%s}T", "2026-11-21 09:59:59 1795255200"),
        ("%u", "ann"),
        (DEFAULT_FORMAT, '198.51.100.2 - ann 21/Nov/2026:09:59:59 +0000 "POST /shop/a%20b" 404'),
        (
            "combined",
            (
                '192.0.2.7 - ann [21/Nov/2026:09:59:59 +0000] "POST /shop/a%20b?x=1 HTTP/1.1" 404'
                ' 321 "-" "Mozilla/5.0 (X11)"'
            ),
        ),
    ],
)
def test_placeholder_writes_what_it_stands_for(text, shown):
    """Each one, and the two formats that are shipped as text."""
    assert renderer(text)() == shown + "\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("%{HTTP_HOST}e %f %l %m", "- - 0 -"),
        ("%q|%Q|%r|%u", "||-|"),
        ("%s %b %{content-type}o", "- 0 -"),
        (DEFAULT_FORMAT, '- -  21/Nov/2026:09:59:59 +0000 "- -" -'),
    ],
)
def test_request_that_could_not_be_read_has_dashes(text, shown):
    """Refused before its parameters were understood, and the client gone before the answer."""
    assert renderer(text, has_peers=False)({}, NONE_SENT) == shown + "\n"


def test_path_without_request_uri_is_the_applications():
    """Not every web server sends REQUEST_URI."""
    environ = {"SCRIPT_NAME": "/shop", "PATH_INFO": "/a b"}
    assert renderer("%r")(environ) == "/shop/a\\x20b\n"


@pytest.mark.parametrize("length", ["", "-1", "x", "1" * 19, "²", None])
def test_length_that_is_none_is_zero(length):
    """%l is written as it is, so nothing but a number may come of it."""
    assert renderer("%l")({"CONTENT_LENGTH": length}) == "0\n"


def test_json_has_numbers_strings_and_nulls():
    """One object with stable names; what is not known is null."""
    assert json.loads(renderer("json")()) == {
        "time": "2026-11-21T09:59:59+00:00",
        "event": "request",
        "pool": "shop",
        "pid": 7,
        "remote_addr": "192.0.2.7",
        "remote_user": "ann",
        "method": "POST",
        "host": "example.org",
        "uri": "/shop/a%20b?x=1",
        "protocol": "HTTP/1.1",
        "status": 404,
        "request_bytes": 17,
        "response_bytes": 321,
        "seconds": 1.234568,
        "referer": None,
        "user_agent": "Mozilla/5.0 (X11)",
    }
    nothing = json.loads(renderer("json")({}, NONE_SENT))
    assert nothing["uri"] is nothing["status"] is nothing["method"] is None


def test_json_uri_without_request_uri_is_put_together():
    """Path and query, as the application has them."""
    environ = {"SCRIPT_NAME": "", "PATH_INFO": "/a", "QUERY_STRING": "b=1"}
    assert json.loads(renderer("json")(environ))["uri"] == "/a?b=1"


def test_json_shows_utf_8_as_text_and_other_bytes_as_escapes():
    """An environ has one character for each byte, which nobody wants to read."""
    line = renderer("json")({"REMOTE_USER": "zoë".encode().decode("latin-1"), "HTTP_HOST": "\xff"})
    found = json.loads(line)
    assert (found["remote_user"], found["host"]) == ("zoë", "\\xff")


anything = st.text(max_size=60)
HOSTILE = [
    '"',
    "\\",
    "\n",
    "\r",
    "\0",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\u2028",
    "\ud800",
    " ",
    " 200 x",
]
values = st.one_of(anything, st.lists(st.sampled_from(HOSTILE), max_size=6).map("".join))
environs = st.fixed_dictionaries(
    {},
    optional={
        name: values
        for name in (*ENVIRON, "HTTP_REFERER")
        if name not in ("CONTENT_LENGTH", "SCRIPT_FILENAME")
    },
)
in_combined, in_json = renderer("combined"), renderer("json")
FIELD = r"[!#-\[\]-~]|\\x[0-9A-F]{2}"  # printable ASCII but blank, quote and backslash; or escaped
COMBINED_LINE = re.compile(
    rf'((?:{FIELD})*) - ((?:{FIELD})*) \[[^\]]+\] "((?:{FIELD})*) ((?:{FIELD})*) ((?:{FIELD})*)"'
    rf' 404 321 "((?:{FIELD}| )*)" "((?:{FIELD}| )*)"\n'
)


@given(environ=environs)
def test_no_client_can_forge_a_line_or_a_field(environ):
    """Whatever a client sends: one line of printable ASCII, every field in its place."""
    line = in_combined(environ)
    assert COMBINED_LINE.fullmatch(line), line


@given(environ=environs)
def test_what_was_escaped_can_be_read_back(environ):
    """Nothing is lost or ambiguous: the escapes are those of a backslash alone."""
    sent = environ.get("HTTP_USER_AGENT", "-")
    shown = COMBINED_LINE.fullmatch(in_combined(environ))[7]
    back = re.sub(r"\\x(..)", lambda match: chr(int(match[1], 16)), shown)
    raw = back.encode("latin-1")
    assert sent in (back, raw.decode("utf-8", "replace")) or raw == sent.encode(
        "utf-8", "backslashreplace"
    )


@given(environ=environs)
def test_json_is_always_one_object_in_one_line(environ):
    """Also for text that is no Unicode."""
    line = in_json(environ)
    assert line.isascii()
    assert line.count("\n") == 1
    assert line.endswith("}\n")
    assert json.loads(line)["status"] == 404


@given(words=st.text(max_size=30).filter(str.isprintable))
def test_words_of_a_format_are_written_and_never_executed(words):
    """They go into the source of a function: braces, quotes, backslashes are words like others."""
    shown = renderer(words.replace("%", "%%") + "%m")()
    assert shown == f"{words}POST\n"


@pytest.mark.parametrize("text", [DEFAULT_FORMAT, "combined", "json", COMBINED_FORMAT + "%f%f"])
@pytest.mark.parametrize("longest_bytes", [4096, 16384])
@pytest.mark.parametrize("character", ["a", "\0", "é", "😀", '"', " "])
def test_long_values_are_cut_and_the_line_stays_whole(text, longest_bytes, character):
    """Every field is still there, however many of them are long."""
    environ = dict.fromkeys((*ENVIRON, "HTTP_REFERER"), character * 100_000)
    line = renderer(text, longest_bytes=longest_bytes)(environ)
    assert len(line.encode()) <= longest_bytes
    assert "..." in line
    if text == "json":
        assert json.loads(line)["status"] == 404
    if text == "combined":
        assert COMBINED_LINE.fullmatch(line)


def test_short_values_are_not_cut():
    """A long URI costs nothing of the user agent."""
    environ = {**ENVIRON, "REQUEST_URI": "/" * 100_000}
    assert renderer("combined", longest_bytes=4096)(environ).endswith(' "Mozilla/5.0 (X11)"\n')


def test_times_change_with_the_second():
    """They are kept, so that a second costs one strftime."""
    make = compile_access_format("%T", pool="a", pid=1, master_pid=1, has_peers=False)
    render = make(None)
    shown = [render({}, ANSWER, 0, second, Measured())[12:20] for second in (0.1, 0.9, 1.0, 0.0)]
    assert shown == ["00:00:00", "00:00:00", "00:00:01", "00:00:00"]


def test_values_of_an_application_may_be_anything():
    """Middleware puts what it likes into the environ."""
    environ = {"REMOTE_USER": 12, "REQUEST_METHOD": None, "HTTP_HOST": ["a b"]}
    assert renderer("%u %m %{HTTP_HOST}e")(environ) == "12 - ['a\\x20b']\n"
