"""The response head: what is sent, and what an application may not say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.cgi import format_head, simple_response
from pyfpm.cgi.response import MAX_HEAD_BYTES
from pyfpm.errors import ResponseError


def head(status="200 OK", headers=(), method="GET"):
    return format_head(status, list(headers), method=method)


def test_head_begins_with_the_status_and_ends_with_an_empty_line():
    """Status first, CRLF everywhere, headers in the application's order and spelling."""
    headers = [("Content-Type", "text/plain"), ("x-a", ""), ("X-A", "2")]
    assert head("404 Not Found", headers).data == (
        b"Status: 404 Not Found\r\nContent-Type: text/plain\r\nx-a: \r\nX-A: 2\r\n\r\n"
    )


def test_head_without_headers_is_only_the_status():
    """A response may have nothing to say."""
    assert head("204 No Content").data == b"Status: 204 No Content\r\n\r\n"


def test_latin_1_values_and_tabs_are_sent_as_they_are():
    """Legal bytes of a header are not ASCII alone; UTF-8 read as latin-1 passes too."""
    utf8 = "caf\u00e9 \u2026".encode().decode("latin-1")
    assert b"X: \xe9\ta\r\n" in head(headers=[("X", "\xe9\ta")]).data
    assert b"X: caf\xc3\xa9 \xe2\x80\xa6\r\n" in head(headers=[("X", utf8)]).data


@pytest.mark.parametrize(
    "status",
    [
        "200",
        "OK",
        "",
        "20 OK",
        "2000 OK",
        "200OK",
        "200\tOK",
        " 200 OK",
        "099 No",
        "2\xb20 OK",
        "200 OK\r\nX: y",
        "200 OK\n",
        "200 O\0K",
        "200 \x7f",
        200,
        None,
        b"200 OK",
        [],
    ],
)
def test_malformed_status_is_refused(status):
    """Three digits, a space, a reason without control characters."""
    with pytest.raises(ResponseError):
        head(status)


@pytest.mark.parametrize("status", ["200 ", "299 Any Thing", "503 \xe9"])
def test_any_reason_is_sent(status):
    """The reason may be empty and any latin-1."""
    assert head(status).data.startswith(f"Status: {status}\r\n".encode("latin-1"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "X Y",
        "X:",
        "X\r\nY",
        "X\n",
        "X\0",
        "(X)",
        "X\xe9",
        "X\u2026",
        "X/Y",
        "\tX",
        b"X",
        1,
        None,
        [],
    ],
)
def test_header_name_that_is_no_token_is_refused(name):
    """A colon or a line break in a name would be another header."""
    with pytest.raises(ResponseError):
        head(headers=[(name, "v")])


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nSet-Cookie: b",
        "a\nb",
        "a\rb",
        "a\0b",
        "\x1b[0m",
        "\x7f",
        "\x0b",
        "\u2026",
        "\xe9\n",
        b"v",
        b"\xe9",
        1,
        None,
    ],
)
def test_header_value_with_control_characters_is_refused(value):
    """Response splitting ends here."""
    with pytest.raises(ResponseError):
        head(headers=[("X", value)])


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "keep-alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Trailers",
        "TRANSFER-ENCODING",
        "Upgrade",
        "Status",
        "status",
    ],
)
def test_header_that_is_not_the_applications_is_refused(name):
    """Hop-by-hop headers belong to the web server (PEP 3333), Status to start_response."""
    with pytest.raises(ResponseError, match=name):
        head(headers=[(name, "x")])


@pytest.mark.parametrize("headers", [None, [("X",)], [("X", "a", "b")], [None], 7])
def test_headers_that_are_no_pairs_are_refused(headers):
    """The error is the application's, and says so."""
    with pytest.raises(ResponseError):
        format_head("200 OK", headers, method="GET")


@pytest.mark.parametrize("value", ["-1", "+1", "1_0", " 1", "1 ", "", "ten", "9" * 30, "1, 1"])
def test_malformed_content_length_is_refused(value):
    """A length that two readers read differently is worse than none."""
    with pytest.raises(ResponseError, match="Content-Length"):
        head(headers=[("content-length", value)])


def test_contradictory_content_lengths_are_refused():
    """Two different lengths split the response."""
    with pytest.raises(ResponseError, match="both 1 and 2"):
        head(headers=[("Content-Length", "1"), ("content-length", "2")])


def test_content_length_said_twice_alike_is_sent_once():
    """No reader sees a list."""
    result = head(headers=[("Content-Length", "10"), ("content-length", "010")])
    assert result.content_length == 10
    assert result.data == b"Status: 200 OK\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "method", "bodyless"),
    [
        ("200 OK", "GET", False),
        ("200 OK", "HEAD", True),
        ("204 No Content", "GET", True),
        ("304 Not Modified", "GET", True),
        ("100 Continue", "GET", True),
        ("205 Reset Content", "GET", False),
        ("404 Not Found", "POST", False),
        ("404 Not Found", "HEAD", True),
    ],
)
def test_response_without_a_body_is_known(status, method, bodyless):
    """HEAD, 1xx, 204 and 304 have none (RFC 9110 §6.4.1)."""
    result = head(status, [("Content-Length", "5")], method)
    assert result.bodyless is bodyless
    assert (result.status, result.content_length) == (int(status[:3]), 5)


def test_head_without_length_declares_none():
    """None and 0 are different."""
    assert head().content_length is None
    assert head(headers=[("Content-Length", "0")]).content_length == 0


def test_giant_head_is_refused():
    """A head of 20 kB was enough to crash a HAProxy; the limit admits exactly its size."""
    fixed = len(head(headers=[("X", "")]).data)
    assert len(head(headers=[("X", "v" * (MAX_HEAD_BYTES - fixed))]).data) == MAX_HEAD_BYTES
    with pytest.raises(ResponseError, match="limit"):
        head(headers=[("X", "v" * (MAX_HEAD_BYTES - fixed + 1))])


any_text = st.text(max_size=20)


@given(any_text, st.lists(st.tuples(any_text, any_text), max_size=5))
def test_any_head_is_refused_or_has_exactly_its_lines(reason, headers):
    """No text of an application adds a line or a header of its own."""
    try:
        data = head(f"200 {reason}", headers).data
    except ResponseError:
        return
    lines = data.split(b"\r\n")
    lengths = [name for name, _ in headers if name.lower() == "content-length"]
    assert len(lines) == 3 + len(headers) - max(0, len(lengths) - 1)
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert [line.partition(b": ")[0].decode() for line in lines[1:-2]] == [n for n, _ in headers]


@pytest.mark.parametrize("status", [400, 404, 413, 431, 500, 503, 504])
def test_own_answer_is_complete(status):
    """Status, type, length and a word for people."""
    data, body = simple_response(status)
    assert data.startswith(b"Status: %d " % status)
    assert b"\r\nContent-Length: %d\r\n" % len(body) in data
    assert data.endswith(b"\r\n\r\n")
    assert body.endswith(b"\n")


def test_own_answer_carries_its_text_and_headers():
    """A queue that is full says when to come back."""
    data, body = simple_response(503, "busy: caf\u00e9", [("Retry-After", "1")])
    assert b"\r\nRetry-After: 1\r\n" in data
    assert body == "busy: caf\u00e9\n".encode()


class Sly(str):
    """Says something else than it is."""

    __slots__ = ()

    def __str__(self):
        return "x\r\nSet-Cookie: a=b"


@pytest.mark.parametrize(
    ("status", "name", "value"),
    [("200 OK", "X", Sly("v")), ("200 OK", Sly("X"), "v"), (Sly("200 OK"), "X", "v")],
)
def test_what_leaves_is_the_text_that_was_checked(status, name, value):
    """A subclass of str has a text of its own beside what its __str__ says."""
    head = format_head(status, [(name, value)], method="GET")
    assert head.data == b"Status: 200 OK\r\nX: v\r\n\r\n"
