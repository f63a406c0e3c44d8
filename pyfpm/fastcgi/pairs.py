"""Name-value pairs, the content of PARAMS and GET_VALUES (FastCGI 1.0 §3.4).

A pair is the length of its name, the length of its value, the name, the value. A length below 128
is one byte; a larger one is four bytes, big-endian, with the top bit set, which leaves 31 bits.
Records do not respect pairs: a stream is joined first and decoded as a whole.
"""

from collections.abc import Iterable
from struct import Struct

from pyfpm.errors import ProtocolError
from pyfpm.fastcgi.limits import SHORT_LENGTH, Limits

_LONG = Struct(">I")
_LONG_FLAG = 0x8000_0000
_LONG_MOST = 0x7FFF_FFFF

_NO_LIMITS = Limits()


def encode_pairs(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The pairs as bytes, each length in its shortest form. ValueError beyond 31 bits."""
    parts: list[bytes] = []
    for name, value in pairs:
        parts += (_encode_length(len(name)), _encode_length(len(value)), name, value)
    return b"".join(parts)


def _encode_length(length: int) -> bytes:
    if length < SHORT_LENGTH:
        return bytes((length,))
    if length > _LONG_MOST:
        raise ValueError(f"pair: length {length} does not fit 31 bits")
    return _LONG.pack(length | _LONG_FLAG)


def decode_pairs(buffer: bytes, limits: Limits = _NO_LIMITS) -> list[tuple[bytes, bytes]]:
    """All pairs of a complete stream, in order, repeated names included.

    A declared length is compared with what is there before anything is cut out. Raises
    ProtocolError when the stream ends inside a pair, holds too many pairs or too long a name.
    """
    pairs: list[tuple[bytes, bytes]] = []
    append = pairs.append
    position = 0
    end = len(buffer)
    try:
        for _ in range(limits.max_params_count):
            if position == end:
                return pairs
            name_length = buffer[position]
            value_length = buffer[position + 1]
            # The second byte is the value's length only if the first is a short one; where either
            # has its top bit set, the four-byte forms are read instead.
            if (name_length | value_length) < SHORT_LENGTH:
                start = position + 2
            else:
                name_length, start = _decode_length(buffer, position)
                value_length, start = _decode_length(buffer, start)
                if name_length > limits.max_name_bytes:
                    raise ProtocolError(
                        f"pairs: name of {name_length} bytes, limit {limits.max_name_bytes}"
                    )
            middle = start + name_length
            position = middle + value_length
            if position > end:
                raise ProtocolError(f"pairs: {position - end} bytes missing at the end")
            append((buffer[start:middle], buffer[middle:position]))
    except IndexError:
        raise ProtocolError("pairs: the stream ends inside a length") from None
    if position != end:
        raise ProtocolError(f"pairs: more than {limits.max_params_count}")
    return pairs


def _decode_length(buffer: bytes, position: int) -> tuple[int, int]:
    """The length at `position` (up to 2³¹-1) and the position after it; IndexError at the end."""
    first = buffer[position]
    if first < SHORT_LENGTH:
        return first, position + 1
    length = (
        (first & 0x7F) << 24
        | buffer[position + 1] << 16
        | buffer[position + 2] << 8
        | buffer[position + 3]
    )
    return length, position + 4
