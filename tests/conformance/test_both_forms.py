"""The compiled and the plain form give the same bytes, values and errors for the same input.

Here is where a C integer would show that wraps, cuts or refuses where a Python one does not.
"""

import struct

import pytest
from harness.form_cases import CASES, Octets, OtherForm, Text, outcome
from harness.machine import is_ci
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyfpm.fastcgi import encode_begin, encode_pairs, encode_request
from pyfpm.form import form

# Around every border that a length has, in the protocol and in C.
LENGTHS = [0, 1, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1]
LONG = [2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64]

compared = settings(max_examples=300, deadline=None)


@pytest.fixture(scope="module")
def same_in_both():
    """Start a process of the other form, and compare with it what a case gives."""
    process = OtherForm()
    if "compiled" not in {form.describe(), process.form}:
        process.close()
        message = f"nothing to compare with: {form.describe()}, {process.form} (make test builds)"
        pytest.fail(message) if is_ci() else pytest.skip(message)
    assert form.describe() != process.form

    def compare(case, *arguments):
        ours, theirs = outcome(case, arguments), process.outcome(case, arguments)
        if ours != theirs:  # pytest would show all of both, which may be megabytes
            pairs = enumerate(zip(ours, theirs, strict=False))
            at = next((at for at, (one, two) in pairs if one != two), 0)
            around = slice(max(0, at - 60), at + 100)
            pytest.fail(f"{form.describe()}: …{ours[around]}\n{process.form}: …{theirs[around]}")

    yield compare
    process.close()


def long_form(length):
    return struct.pack(">I", length & 0xFFFFFFFF)


words = st.sampled_from(LENGTHS).map(long_form) | st.integers(0, 2**32 - 1).map(long_form)
short_pairs = st.lists(
    st.tuples(
        st.sampled_from([b"REQUEST_METHOD", b"CONTENT_LENGTH", b"HTTP_COOKIE", b"PATH_INFO"])
        | st.binary(max_size=140),
        st.sampled_from([b"GET", b"/a/b", *(str(number).encode() for number in LONG)])
        | st.binary(max_size=300),
    ),
    max_size=20,
)
streams = st.lists(words | st.binary(max_size=12) | short_pairs.map(encode_pairs)).map(b"".join)
headers = st.lists(
    st.tuples(
        st.sampled_from(["Content-Type", "content-length", "X", "Status", "TE", "a b", ""])
        | st.text(max_size=4).map(Text),
        st.sampled_from(["a", "é", "\u20ac", "a\r\nb", "\t", *map(str, LONG)])
        | st.text(max_size=6).map(Text),
    ),
    max_size=4,
)
statuses = st.sampled_from(["200 OK", "204 No", "304 x", "99 a", "500 é", "200", Text("404 x")])
methods = st.sampled_from(["GET", "HEAD", "POST"])


@st.composite
def connections(draw):
    """Reads of one connection: whole requests, single records with any header, rubbish."""
    parts = st.one_of(
        st.builds(
            encode_request,
            st.sampled_from([1, 1, 2, 65535]),
            short_pairs.filter(lambda pairs: len(encode_pairs(pairs)) < 60000),
            st.sampled_from([b"", b"body"]),
            role=st.integers(0, 4),
            keep_conn=st.booleans(),
        ),
        st.builds(encode_begin, st.integers(0, 65535), st.integers(0, 3)),
        st.builds(
            lambda kind, number, content, padding: (
                struct.pack(">BBHHBx", 1, kind, number, len(content), len(padding))
                + content
                + padding
            ),
            st.integers(0, 12),
            st.integers(0, 2),
            streams.map(lambda stream: stream[:60000]),
            st.binary(max_size=255),
        ),
        st.binary(max_size=30),
    )
    whole = b"".join(draw(st.lists(parts, max_size=4)))
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(connections(), st.booleans())
@compared
def test_bytes_of_a_connection_mean_the_same(same_in_both, pieces, filters):
    """Records, requests and events, wherever the reads are cut; and the same errors."""
    same_in_both("records", pieces)
    same_in_both("server", pieces, filters)


@given(
    st.lists(streams | st.just(encode_pairs([(b"REQUEST_METHOD", b"GET")])), max_size=4),
    st.sampled_from(["", "/a", "/a/"]),
    st.sampled_from(["auto", "request_uri"]),
)
@example([long_form(2**32 - 1) + long_form(2**32 - 1)], "", "auto")
@example([b"\x01" + long_form(2**31 - 1 | 2**31) + b"A"], "", "auto")
@compared
def test_parameters_mean_the_same(same_in_both, sent, mount, path_info):
    """Pairs and environ of any stream, with lengths whose sums exceed a C int."""
    for stream in sent:
        same_in_both("pairs", stream)
    same_in_both("environ", sent, mount, path_info)


@pytest.mark.parametrize("second", LENGTHS)
@pytest.mark.parametrize("first", LENGTHS)
def test_declared_lengths_at_the_borders_of_c_integers_mean_the_same(same_in_both, first, second):
    """Name and value that claim to be so long, in the long form and, where it fits, the short."""
    forms = [long_form(first) + long_form(second), long_form(first | 2**31) + long_form(second)]
    if first < 128:
        forms.append(bytes((first,)) + long_form(second | 2**31))
    for lengths in forms:
        same_in_both("pairs", lengths + b"A" * 300)
        same_in_both("environ", [lengths + b"A" * 300], "", "auto")


@given(short_pairs)
@compared
def test_repeated_parameters_mean_the_same(same_in_both, pairs):
    """What is joined, and what is refused."""
    same_in_both("environ_of_pairs", pairs)


@given(statuses, headers, methods)
@compared
def test_heads_are_the_same(same_in_both, status, fields, method):
    """Heads, and why they are refused; strings of applications may be subclasses."""
    same_in_both("head", status, fields, method)


@pytest.mark.parametrize("size", [0, 1, 65000, 65527, 65528, 65529, 65535, 65536, 131056, 200001])
@pytest.mark.parametrize("kind", [bytes, Octets])
def test_replies_of_all_sizes_are_the_same(same_in_both, size, kind):
    """Records around the longest that there may be."""
    same_in_both("replies", 1, b"Status: 200 OK\r\n\r\n", kind(b"x" * size), 0)


@pytest.mark.parametrize("number", [0, 1, 65535, 65536, -1, *LONG])
def test_numbers_that_fit_no_field_are_refused_alike(same_in_both, number):
    """A request id or an exit status beyond its field is an error and never another number."""
    same_in_both("replies", number, b"", b"body", 0)
    same_in_both("replies", 1, b"", b"body", number)


texts = st.text(st.sampled_from("/ab%2f?:|.\0é"), max_size=12) | st.just("proxy:fcgi://h/a?b")


@given(texts, texts, st.sampled_from(["", "/a", "/a/b"]))
@compared
def test_paths_are_the_same(same_in_both, script, info, mount):
    """Where the application is mounted, for anything that a web server might send."""
    same_in_both("paths", script, info, mount)


@given(
    st.none() | st.sampled_from([*LENGTHS, *LONG]),
    st.booleans(),
    st.lists(st.binary(max_size=300).map(Octets), max_size=4),
)
@compared
def test_bodies_are_held_to_their_length_alike(same_in_both, declared, bodyless, pieces):
    """What is cut and what is missing, also of lengths beyond any C integer."""
    same_in_both("body_length", declared, bodyless, pieces)


@pytest.mark.parametrize("number", [-1, 0, 1, *LENGTHS, *LONG])
def test_slots_are_the_same(same_in_both, number):
    """The words of a slot; a number that fits no word is refused, and never becomes another."""
    same_in_both("slot", 5, b"GET\0\0\0/", number, 7)
    same_in_both("slot", number, b"GET\0\0\0/" + b"x" * 3000, 1, 7)
    same_in_both("slot", 5, b"", 1, number)


pieces_of_bodies = st.sampled_from(
    [b"", b"x", b"hello", Octets(b"octets"), "text", None, bytearray(b"mutable"), b"y" * 70000]
)


@given(
    statuses,
    headers,
    st.lists(pieces_of_bodies, max_size=3),
    methods,
    st.lists(pieces_of_bodies, max_size=2),
)
@compared
def test_answers_of_applications_leave_alike(same_in_both, status, fields, body, method, written):
    """What is on the wire, whatever the application hands over, and whether it is complete."""
    same_in_both("application_answer", status, fields, body, method, written)


def test_every_case_is_compared():
    """A case that no test names would be compared by nobody."""
    with open(__file__, encoding="utf-8") as source:
        text = source.read()
    assert [case for case in CASES if f'same_in_both("{case}"' not in text] == []
