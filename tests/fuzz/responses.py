"""Response heads on both sides: what an application may say, and what a gateway reads."""

import re

from fuzz.choices import Choices

from pyfpm.cgi import HOP_BY_HOP, format_head
from pyfpm.cgi.response import MAX_HEAD_BYTES
from pyfpm.errors import ResponseError
from pyfpm.front.cgi_head import HeadReader, ReplyHead

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
STATUS = re.compile("[1-9][0-9]{2} [^\0-\x1f\x7f]*")
METHODS = ("GET", "HEAD", "POST")


def fuzz_head(data: bytes) -> None:
    """What leaves is one header block, and what is refused deserves it."""
    choices = Choices(data)
    method, in_utf8 = METHODS[choices.number(3)], choices.flag()
    encoding, errors = ("utf-8", "surrogateescape") if in_utf8 else ("latin-1", "strict")
    status, *texts = [piece.decode(encoding, errors) for piece in choices.pieces(9)] or [""]
    headers = list(zip(texts[::2], texts[1::2], strict=False))
    reason = why_refused(status, headers)
    try:
        head = format_head(status, headers, method)
    except ResponseError as error:
        assert reason, f"refused for nothing: {error}"  # noqa: PT017 - that there is none is as good
        return
    assert not reason, f"not refused: {reason}"
    check_block(head.data, status, headers)
    assert head.status == int(status[:3])
    assert head.bodyless == (method == "HEAD" or head.status in {204, 304} or head.status < 200)
    lengths = {int(value) for name, value in headers if name.lower() == "content-length"}
    assert {head.content_length} == (lengths or {None})
    if not any(name.lower() == "status" for name, _ in headers):
        check_gateway(head.data, status)


def why_refused(status: str, headers: list[tuple[str, str]]) -> str:
    """Why a head must not leave; empty where it may."""
    if not STATUS.fullmatch(status):
        return "status"
    lengths = {value for name, value in headers if name.lower() == "content-length"}
    if any(not (one.isascii() and one.isdigit() and len(one) <= 18) for one in lengths):
        return f"lengths {lengths}"
    if len({int(one) for one in lengths}) > 1:
        return f"lengths {lengths}"
    size = len(f"Status: {status}\r\n\r\n")
    seen_length = False
    for name, value in headers:
        if reason := why_no_header(name, value):
            return reason
        if name.lower() == "content-length":
            if seen_length:
                continue
            seen_length = True
        size += len(f"{name}: {value}\r\n")
    if any(ord(letter) > 255 for text in (status, *map("".join, headers)) for letter in text):
        return "not latin-1"
    return "too long" if size > MAX_HEAD_BYTES else ""


def why_no_header(name: str, value: str) -> str:
    """Why one header must not leave; empty where it may."""
    if not TOKEN.fullmatch(name.encode("utf-8", "surrogatepass")):
        return f"name {name!r}"
    if name.lower() in {"status", *HOP_BY_HOP}:
        return f"header {name}"
    if any(ord(letter) < 32 and letter != "\t" for letter in value) or "\x7f" in value:
        return f"value {value!r}"
    return ""


def check_block(data: bytes, status: str, headers: list[tuple[str, str]]) -> None:
    """One empty line, at the end; a line for each header; no control character inside."""
    assert data.endswith(b"\r\n\r\n")
    lines = data[:-4].split(b"\r\n")
    assert lines[0] == f"Status: {status}".encode("latin-1")
    assert len(lines) <= 1 + len(headers)
    for line in lines:
        assert TOKEN.fullmatch(line.partition(b":")[0]), line
        assert not re.search(rb"[\0-\x08\x0a-\x1f\x7f]", line), line


def check_gateway(data: bytes, status: str) -> None:
    """Our own front end reads what it was given."""
    reply = HeadReader().feed(data + b"body")
    assert reply is not None
    assert reply.status == int(status[:3])


def fuzz_reply(data: bytes) -> None:
    """What a gateway makes of the head of any responder, wherever it is cut."""
    choices = Choices(data)
    at = choices.number(256)
    text = choices.rest()
    whole = read_head([text])
    assert whole == read_head([text[:at], text[at:]])
    head, rest = whole
    if isinstance(head, ReplyHead):
        assert text.endswith(rest)
        assert 100 <= head.status <= 999
        for name, value in (*head.headers, ("Status", head.reason)):
            assert TOKEN.fullmatch(name.encode()), name
            assert not {"\r", "\n", "\0"} & set(value), value


def read_head(pieces: list[bytes]) -> tuple[object, bytes]:
    """The head and what of the body came with it; or None, or that it is refused."""
    reader = HeadReader()
    head = None
    rest = b""
    try:
        for piece in pieces:
            if head is None:
                head = reader.feed(piece)
                rest = reader.rest
            else:
                rest += piece
    except ResponseError:
        return "refused", b""
    return head, rest
