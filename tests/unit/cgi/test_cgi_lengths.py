"""Declared lengths: what counts as one, and holding a body to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.cgi import BodyLength, declared_length
from pyfpm.errors import BadRequest


@pytest.mark.parametrize("environ", [{}, {"CONTENT_LENGTH": ""}, {"CONTENT_LENGTH": "-1"}])
def test_length_that_the_web_server_does_not_know_is_none(environ):
    """Absent (Apache), empty (nginx) and -1 (Caddy) all mean a chunked upload."""
    assert declared_length(environ) is None


@pytest.mark.parametrize(
    ("text", "length"), [("0", 0), ("10", 10), ("007", 7), ("9" * 18, 10**18 - 1)]
)
def test_decimal_digits_are_a_length(text, length):
    """Any number of bytes that a body can have."""
    assert declared_length({"CONTENT_LENGTH": text}) == length


@pytest.mark.parametrize(
    "text",
    [
        "+1",
        "1_0",
        " 10 ",
        "10 ",
        "\t1",
        "-0",
        "-2",
        "1.0",
        "0x10",
        "1e3",
        "ten",
        "1,1",
        "1\n",
        "9" * 19,
        "1" * 1_000_000,
        "\u0661",
        "\xb2",
    ],
)
def test_anything_else_is_a_bad_request(text):
    """Spellings that int() takes are no lengths (RFC 9110 §8.6), and nor are giant ones."""
    with pytest.raises(BadRequest) as caught:
        declared_length({"CONTENT_LENGTH": text})
    assert caught.value.status == 400
    assert len(str(caught.value)) < 200


def test_body_of_its_declared_length_passes():
    """Nothing cut, nothing missing."""
    body = BodyLength(6)
    assert body.admit(b"abc") == b"abc"
    assert body.missing_bytes() == 3
    assert body.admit(b"def") == b"def"
    assert (body.missing_bytes(), body.surplus_bytes) == (0, 0)


def test_longer_body_is_cut():
    """What goes beyond the length would be read as something else by the next in line."""
    body = BodyLength(4)
    assert body.admit(b"abc") == b"abc"
    assert body.admit(b"def") == b"d"
    assert body.admit(b"ghi") == b""
    assert (body.missing_bytes(), body.surplus_bytes) == (0, 5)


def test_shorter_body_shows_what_is_missing():
    """At the end of the body the caller asks for this."""
    body = BodyLength(4)
    body.admit(b"abc")
    assert body.missing_bytes() == 1


def test_body_of_unknown_length_passes():
    """Without a declaration there is nothing to hold it to."""
    body = BodyLength(None)
    assert body.admit(b"abc") == b"abc"
    assert (body.missing_bytes(), body.surplus_bytes) == (0, 0)


def test_bodyless_response_drops_its_body_and_misses_nothing():
    """A HEAD request is answered with the length of the body, and without it."""
    body = BodyLength(4, bodyless=True)
    assert body.missing_bytes() == 0
    assert body.admit(b"abcd") == b""


@given(st.integers(0, 50), st.lists(st.binary(max_size=20)))
def test_any_pieces_add_up_to_at_most_the_length(declared, pieces):
    """Sent, cut and missing bytes account for everything."""
    body = BodyLength(declared)
    sent = sum(len(body.admit(piece)) for piece in pieces)
    assert sent + body.missing_bytes() == declared
    assert sent + body.surplus_bytes == sum(map(len, pieces))
