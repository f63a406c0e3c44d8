"""What requests have in common, and that a request which has not is left to the decoder."""

import pytest

from pyfpm.cgi.layout import Layout, count_leading
from pyfpm.fastcgi import encode_pairs

PAIRS = [
    (b"REQUEST_METHOD", b"GET"),
    (b"REMOTE_PORT", b"40000"),
    (b"HTTP_PROXY", b""),
    (b"SERVER_NAME", b"here"),
]
KEYS = ["REQUEST_METHOD", "REMOTE_PORT", "", "SERVER_NAME"]
READY = {"REQUEST_METHOD": "GET", "REMOTE_PORT": "40000", "SERVER_NAME": "here", "more": 1}


def layout(*varying):
    return Layout(PAIRS, KEYS, set(varying), READY, is_complete=True)


def changed(**values):
    """The stream of the same parameters with other values."""
    return encode_pairs([(name, values.get(name.decode(), value)) for name, value in PAIRS])


@pytest.mark.parametrize("varying", [(), (b"REMOTE_PORT",), (b"REQUEST_METHOD", b"SERVER_NAME")])
def test_request_like_the_one_learned_from_is_filled(varying):
    """Headers behind it are left where they are, and `end` says where."""
    chosen = layout(*varying)
    assert chosen.fill(encode_pairs(PAIRS)) == READY
    assert chosen.end == len(encode_pairs(PAIRS))
    assert chosen.fill(encode_pairs([*PAIRS, (b"HTTP_HOST", b"h")])) == READY
    assert chosen.end == len(encode_pairs(PAIRS))


@pytest.mark.parametrize("value", [b"", b"1", b"\xe9", b"x" * 127, b"x" * 128, b"x" * 70_000])
@pytest.mark.parametrize("name", ["REQUEST_METHOD", "REMOTE_PORT", "SERVER_NAME"])
def test_value_that_varies_is_cut_out(name, value):
    """Whatever its length, at the beginning, in the middle and at the end."""
    environ = layout(name.encode()).fill(changed(**{name: value}))
    assert environ == READY | {name: value.decode("latin-1")}


def test_value_of_a_dropped_parameter_is_skipped():
    """The client's Proxy header, which varies and becomes no variable."""
    assert layout(b"HTTP_PROXY").fill(changed(HTTP_PROXY=b"http://evil")) == READY


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        changed(REQUEST_METHOD=b"PUT"),
        changed(SERVER_NAME=b"hers"),
        encode_pairs(PAIRS[1:]),
        encode_pairs(PAIRS[:1]),
        encode_pairs(PAIRS[:2]),
        encode_pairs([PAIRS[0], (b"REMOTE_PORK", b"40000"), *PAIRS[2:]]),
        encode_pairs(PAIRS).replace(b"\x0b\x05REMOTE", b"\x0b\xff\xff\xff\xffREMOTE"),
        encode_pairs(PAIRS).replace(b"\x0b\x05REMOTE", b"\x0b\x80\0\0\x0fREMOTE"),
    ],
)
def test_request_that_differs_in_anything_else_is_no_match(stream):
    """Another constant value, name or order, a stream cut off, a length that is not there."""
    assert layout(b"REMOTE_PORT").fill(stream) is None


def test_stream_cut_off_anywhere_is_no_match():
    """Lengths are compared with what is there."""
    stream = changed(REMOTE_PORT=b"x" * 200)
    for end in range(len(stream)):
        assert layout(b"REMOTE_PORT", b"SERVER_NAME").fill(stream[:end]) is None
    assert layout(b"REMOTE_PORT").fill(stream)


def test_environs_are_independent():
    """An application may write into its own."""
    chosen = layout()
    first = chosen.fill(encode_pairs(PAIRS))
    first["SERVER_NAME"] = "there"
    assert chosen.fill(encode_pairs(PAIRS)) == READY


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ("", 0),
        ("HTTP_A HTTP_B", 0),
        ("A B", 2),
        ("A B HTTP_A", 2),
        ("A HTTP_A B HTTP_B HTTP_C", 3),
    ],
)
def test_headers_of_the_client_are_those_at_the_end(names, count):
    """What the web server sets itself stands among its own parameters."""
    assert count_leading([(name.encode(), b"") for name in names.split()]) == count
