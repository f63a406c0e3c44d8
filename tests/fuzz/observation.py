"""What is shown of hostile things: access lines, status pages, memory that a worker wrote."""

import json

from fuzz.choices import Choices

from pyfpm.observe import (
    LONGEST_LINE_BYTES,
    answer_status,
    check_access_format,
    compile_access_format,
    render_json,
    render_text,
    summarise,
    wants_cpu,
)
from pyfpm.scoreboard import NOTICE_BYTES, SLOT_BYTES, Board, Stage, read_notice, read_slot
from pyfpm.scoreboard.slot import TEXT_ROOM, Word

NOW_S, NOW_EPOCH_S = 1000.0, 1_795_000_000.0
_ROOM_FOR_OUR_OWN = 4096
NAMES = (
    *("REMOTE_ADDR", "REMOTE_USER", "REQUEST_METHOD", "HTTP_HOST", "REQUEST_URI", "QUERY_STRING"),
    *("SCRIPT_NAME", "PATH_INFO", "SCRIPT_FILENAME", "CONTENT_LENGTH", "SERVER_PROTOCOL"),
    *("HTTP_REFERER", "HTTP_USER_AGENT"),
)


class Answer:
    """A response whose head is whatever an application said."""

    status, body_bytes, fd = 200, 7, -1

    def __init__(self, head: bytes) -> None:
        self.head = head


class Measures:
    """Figures for a line."""

    def cpu_percent(self, kind: str, duration_ns: int) -> float:
        return 12.5

    def peak_bytes(self) -> int:
        return 1 << 20

    def peer(self, response: object) -> str:
        return "192.0.2.1"


def fuzz_access_format(data: bytes) -> None:
    """A format is refused, or writes one printable line whatever clients send."""
    choices = Choices(data)
    has_peers = choices.flag()
    text, *values = choices.pieces(len(NAMES) + 2) or [b""]
    try:
        checked = check_access_format(text.decode("utf-8", "replace"))
    except ValueError as error:
        assert str(error)  # noqa: PT017 - that there is none is as good
        return
    wants_cpu(checked)
    head = values.pop() if values else b""
    sent = {name: one.decode("latin-1") for name, one in zip(NAMES, values, strict=False)}
    make = compile_access_format(checked, pool="shop", pid=7, master_pid=1, has_peers=has_peers)
    for longest in (None, LONGEST_LINE_BYTES, 100):
        line = make(longest)(sent, Answer(head), 1_500_000, NOW_EPOCH_S, Measures())
        assert line.endswith("\n")
        assert line[:-1].isprintable(), line
        if longest is not None:
            assert len(line.encode()) <= longest + _ROOM_FOR_OUR_OWN
        if checked == "json":
            assert isinstance(json.loads(line), dict)


def fuzz_scoreboard(data: bytes) -> None:
    """A worker's slots and the notice hold any bytes; the status page is a page."""
    choices = Choices(data)
    query = choices.take(choices.number(40)).decode("latin-1")
    method = ("GET", "HEAD", "POST")[choices.number(3)]
    notice = bytearray(NOTICE_BYTES)
    board = bytearray(3 * SLOT_BYTES)
    for place, content in zip((notice, board), choices.pieces(2), strict=False):
        spread(place, content)
    copies = [
        read_slot(memoryview(board)[at : at + SLOT_BYTES])
        for at in range(0, len(board), SLOT_BYTES)
    ]
    for copy in copies:
        texts = (copy.method, copy.uri, copy.script, copy.user)
        assert sum(map(len, texts)) <= TEXT_ROOM, texts
    view = Board(memoryview(board))
    assert [view.read(at) for at in range(view.slots)] == copies
    for at in range(view.slots):
        assert isinstance(view.stage(at), Stage)
        assert all(0 <= view.word(at, word) < 2**64 for word in Word)
    assert view.idle_count(3) == sum(view.is_idle(at) for at in range(3))
    status = summarise(read_notice(memoryview(notice)), copies, NOW_S, NOW_EPOCH_S)
    for full in (False, True):
        assert isinstance(json.loads(render_json(status, full=full)), dict)
        text = render_text(status, full=full)
        assert all(line.isprintable() for line in text.split("\n")), text
    page = answer_status(query, lambda: status, method=method)
    assert page.status[:3] in {"200", "501"}
    assert (page.body == b"") == (method == "HEAD")


def spread(area: bytearray, content: bytes) -> None:
    """Write pieces of `content` where a reader looks: each after its offset in two bytes."""
    for piece in Choices(content).pieces(40):
        at = int.from_bytes(piece[:2], "big") % len(area)
        room = piece[2 : 2 + len(area) - at]
        area[at : at + len(room)] = room
