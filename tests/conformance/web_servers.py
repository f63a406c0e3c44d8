"""What each web server really sends, as bytes.

One function a web server, after observations of the Debian 12 builds. They differ in how they cut
the PARAMS and STDIN streams into records, in padding, in ids and in how they say that the length
of a body is not known; the parameters themselves are in `params_matrix`.
"""

from conformance.wire import begin, get_values, padding_to_8, params_stream, record

from pyfpm.fastcgi import encode_pairs

PARAMS, STDIN, ABORT = 4, 5, 2


def nginx(pairs, body=b"", *, keep_conn=False, buffered=True):
    """One padded PARAMS record; STDIN records of 32,768 bytes (unbuffered 8,192), padded; id 1."""
    params = encode_pairs(pairs)
    assert len(params) <= 65_535, "nginx answers 500 by itself"
    return b"".join(
        (
            begin(1, keep_conn=keep_conn),
            record(PARAMS, 1, params, padding_to_8(params)),
            record(PARAMS, 1, b""),
            *stdin_records(1, body, 32_768 if buffered else 8_192, padded=True),
            record(STDIN, 1, b""),
        )
    )


def apache_proxy_fcgi(pairs, body=b"", *, keep_conn=False):
    """PARAMS in records of at most 16 KiB, whole pairs each, STDIN of 8,192 bytes; no padding."""
    return b"".join(
        (
            begin(1, keep_conn=keep_conn),
            *(record(PARAMS, 1, part) for part in whole_pairs(pairs, 16 * 1024)),
            record(PARAMS, 1, b""),
            *stdin_records(1, body, 8_192),
            record(STDIN, 1, b""),
        )
    )


def apache_fcgid(pairs, body=b""):
    """PARAMS of about 8 KiB, cut anywhere; STDIN in uneven pieces as they came from the client."""
    sizes = [351, 7_841, 4_096, 1_448]
    pieces = []
    rest = body
    while rest:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(record(STDIN, 1, rest[:size]))
        rest = rest[size:]
    return b"".join((begin(1), params_stream(1, pairs, 8_192), *pieces, record(STDIN, 1, b"")))


def lighttpd(pairs, body=b""):
    """One PARAMS record; STDIN records as long as they can be; no padding."""
    params = encode_pairs(pairs)
    assert len(params) <= 65_535, "lighttpd answers 400 by itself"
    return b"".join(
        (
            begin(1),
            record(PARAMS, 1, params),
            record(PARAMS, 1, b""),
            *stdin_records(1, body, 65_535),
            record(STDIN, 1, b""),
        )
    )


def haproxy(pairs, body=b"", *, request_id=1):
    """Ids 1, 3, 5, … on one kept connection; one PARAMS record; STDIN of about a buffer."""
    return b"".join(
        (
            begin(request_id, keep_conn=True),
            record(PARAMS, request_id, encode_pairs(pairs)),
            record(PARAMS, request_id, b""),
            *stdin_records(request_id, body, 16_320),
            record(STDIN, request_id, b""),
        )
    )


def haproxy_get_values():
    """With `option get-values`, sent in front of the first BEGIN, in the same write."""
    return get_values([b"FCGI_MAX_REQS", b"FCGI_MPXS_CONNS"])


def haproxy_abort(request_id):
    """The client is gone, the connection stays."""
    return record(ABORT, request_id, b"")


def caddy(pairs, body=b""):
    """PARAMS and STDIN in records of at most 65,500 bytes, padded to 8; never keeps."""
    params = encode_pairs(pairs)
    parts = [params[i : i + 65_500] for i in range(0, len(params), 65_500)]
    return b"".join(
        (
            begin(1),
            *(record(PARAMS, 1, part, padding_to_8(part)) for part in parts),
            record(PARAMS, 1, b""),
            *stdin_records(1, body, 65_500, padded=True),
            record(STDIN, 1, b""),
        )
    )


def cgi_fcgi(pairs, body=b""):
    """One PARAMS record with a whole environment, STDIN as it was read."""
    return b"".join(
        (
            begin(1),
            record(PARAMS, 1, encode_pairs(pairs), padding_to_8(encode_pairs(pairs))),
            record(PARAMS, 1, b""),
            *stdin_records(1, body, 8_192, padded=True),
            record(STDIN, 1, b""),
        )
    )


def stdin_records(request_id, body, size, *, padded=False):
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return [
        record(STDIN, request_id, piece, padding_to_8(piece) if padded else 0) for piece in pieces
    ]


def whole_pairs(pairs, most_bytes):
    """The encoded pairs in parts of at most `most_bytes`, none of them cut."""
    parts = [b""]
    for pair in pairs:
        encoded = encode_pairs([pair])
        if parts[-1] and len(parts[-1]) + len(encoded) > most_bytes:
            parts.append(b"")
        parts[-1] += encoded
    return parts
