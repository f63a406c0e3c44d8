"""Name-value pairs: lengths in both forms, and streams that lie about them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi import Limits, decode_pairs, encode_pairs


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65_535, 65_536, 100_000])
def test_value_of_any_length_comes_back(length):
    """A value is decoded as it was encoded on both sides of every border of the length field."""
    pairs = [(b"NAME", b"v" * length)]
    assert decode_pairs(encode_pairs(pairs)) == pairs


def test_short_lengths_are_encoded_in_one_byte():
    """127 is the longest length that takes one byte, 128 the first that takes four."""
    assert encode_pairs([(b"n" * 127, b"")])[:2] == b"\x7f\x00"
    assert encode_pairs([(b"n" * 128, b"")])[:5] == b"\x80\x00\x00\x80\x00"


def test_long_form_of_a_short_length_is_read():
    """A peer may spend four bytes on a small length."""
    stream = struct.pack(">II", 0x8000_0001, 0x8000_0002) + b"abc"
    assert decode_pairs(stream) == [(b"a", b"bc")]


def test_mixed_forms_are_read():
    """Each of the two lengths has a form of its own."""
    long_value = b"\x01" + struct.pack(">I", 0x8000_0002) + b"abc"
    long_name = struct.pack(">I", 0x8000_0001) + b"\x02" + b"abc"
    assert decode_pairs(long_value + long_name) == [(b"a", b"bc"), (b"a", b"bc")]


def test_empty_stream_holds_no_pairs():
    """Nothing decodes to nothing."""
    assert decode_pairs(b"") == []


@pytest.mark.parametrize(
    "stream",
    [
        b"\x01",
        b"\x04\x02ab",
        b"\x04\x02NAMEv",
        b"\x80",
        b"\x80\x00\x00",
        b"\x01\x80\x00\x00",
        b"\x00\x00\x01",
    ],
)
def test_stream_that_ends_inside_a_pair_is_refused(stream):
    """A truncated pair is an error, never a shorter value."""
    with pytest.raises(ProtocolError):
        decode_pairs(stream)


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("field", ["name", "value", "both"])
def test_giant_length_is_refused_before_anything_is_cut_out(length, field):
    """Lengths at the ends of 31 and 32 bits neither wrap nor allocate."""
    giant = struct.pack(">I", length | 0x8000_0000)
    small = b"\x01"
    lengths = {"name": giant + small, "value": small + giant, "both": giant + giant}[field]
    with pytest.raises(ProtocolError):
        decode_pairs(lengths + b"ab")


def test_pairs_beyond_the_count_are_refused():
    """The limit admits exactly its number."""
    limits = Limits(max_params_count=3)
    assert len(decode_pairs(b"\x01\x00a" * 3, limits)) == 3
    with pytest.raises(ProtocolError, match="more than 3"):
        decode_pairs(b"\x01\x00a" * 4, limits)


def test_name_beyond_the_limit_is_refused():
    """The limit admits a name of exactly its length."""
    limits = Limits(max_name_bytes=200)
    assert decode_pairs(encode_pairs([(b"n" * 200, b"")]), limits)
    with pytest.raises(ProtocolError, match="limit 200"):
        decode_pairs(encode_pairs([(b"n" * 201, b"")]), limits)


def test_limit_on_names_below_the_short_form_is_no_limit_that_can_be_kept():
    """The fast path does not look at short names, so a lower limit is refused, not ignored."""
    with pytest.raises(ValueError, match="at least 127"):
        Limits(max_name_bytes=126)


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300)), max_size=30))
def test_any_pairs_come_back(pairs):
    """Decoding is the inverse of encoding."""
    assert decode_pairs(encode_pairs(pairs)) == pairs


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(stream):
    """Random bytes raise nothing but ProtocolError, and yield no byte that was not there."""
    try:
        pairs = decode_pairs(stream)
    except ProtocolError:
        return
    assert sum(len(name) + len(value) for name, value in pairs) <= len(stream)
