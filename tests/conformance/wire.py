"""Records by hand, with everything a peer may choose: padding, its content, flags, cuts."""

import struct

from pyfpm.fastcgi import encode_pairs


def record(kind, request_id, content, padding=0, *, version=1, fill=b"\0"):
    """One record; `fill` is what its padding is made of."""
    header = struct.pack(">BBHHBx", version, kind, request_id, len(content), padding)
    return header + content + fill * padding


def padding_to_8(content):
    return -len(content) % 8


def begin(request_id, role=1, *, keep_conn=False):
    return record(1, request_id, struct.pack(">HB5x", role, keep_conn))


def params_stream(request_id, pairs, size):
    """The PARAMS stream in records of `size` bytes wherever that cuts, and its end."""
    stream = encode_pairs(pairs)
    parts = [stream[start : start + size] for start in range(0, len(stream), size)]
    return b"".join(record(4, request_id, part) for part in [*parts, b""])


def get_values(names):
    return record(9, 0, encode_pairs([(name, b"") for name in names]))
