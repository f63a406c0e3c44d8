"""A worker's slot: what the writer says is what a reader copies, whatever else stands there."""

import ast
import inspect
import textwrap
from dataclasses import fields
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.scoreboard import SLOT_BYTES, SlotCopy, SlotWriter, Stage, read_slot
from pyfpm.scoreboard import slot as layout
from pyfpm.scoreboard.slot import Word

NS = 1_000_000_000
TEXT_ROOMS = {name: room for name, (_, room) in layout._TEXTS.items()}


@pytest.fixture
def slot():
    return memoryview(bytearray(SLOT_BYTES))


@pytest.fixture
def writer(slot):
    writer = SlotWriter(slot)
    writer.claim(pid=4711, serial=3, generation=2, now_ns=7 * NS, epoch_s=1_795_255_200)
    return writer


def sequence_of(slot):
    return slot[:8].cast("Q")[0]


def test_claimed_slot_shows_a_booting_worker_and_nothing_else(slot, writer):
    """A fresh worker has an identity, times and no history."""
    copy = read_slot(slot)
    assert (copy.pid, copy.serial, copy.generation) == (4711, 3, 2)
    assert (copy.stage, copy.stage_since_s, copy.started_s) == (Stage.BOOTING, 7.0, 7.0)
    assert copy.started_epoch_s == 1_795_255_200
    said = {"pid", "serial", "generation", "stage", "stage_since_s", "started_s", "started_epoch_s"}
    for field in fields(SlotCopy):
        if field.name not in said:
            assert getattr(copy, field.name) in (0, ""), field.name


def test_claim_wipes_what_the_previous_worker_left(slot):
    """A new worker does not inherit the requests, texts or counters of the dead one."""
    slot[:] = b"\xa5" * SLOT_BYTES
    SlotWriter(slot).claim(pid=1, serial=1, generation=1, now_ns=0, epoch_s=0)
    copy = read_slot(slot)
    assert (copy.requests, copy.parked, copy.uri, copy.user) == (0, 0, "", "")
    assert sequence_of(slot) % 2 == 0


@given(
    method=st.binary(max_size=TEXT_ROOMS["method"]),
    uri=st.binary(max_size=TEXT_ROOMS["uri"]),
    script=st.binary(max_size=TEXT_ROOMS["script"]),
    user=st.binary(max_size=TEXT_ROOMS["user"]),
    length=st.integers(0, 2**63),
    now_ns=st.integers(0, 2**63),
)
def test_begun_request_reads_back_as_it_was_written(method, uri, script, user, length, now_ns):
    """Writer and reader are inverse: every text in its own field, every number in its own word."""
    area = memoryview(bytearray(SLOT_BYTES))
    writer = SlotWriter(area)
    writer.begin_request(now_ns, method, uri, script, user, length)
    copy = read_slot(area)
    assert [text.encode("latin-1") for text in (copy.method, copy.uri, copy.script, copy.user)] == [
        method,
        uri,
        script,
        user,
    ]
    assert (copy.content_length, copy.stage) == (length, Stage.RUNNING)
    assert copy.request_started_s == copy.stage_since_s == now_ns / NS


def test_texts_longer_than_their_room_are_cut_and_touch_nothing_else(slot, writer):
    """A giant URI shows its beginning; the fields beside it stay whole."""
    writer.begin_request(0, b"M" * 99, b"U" * 9000, b"S" * 999, b"W" * 99, 0)
    copy = read_slot(slot)
    for name, room in TEXT_ROOMS.items():
        assert len(getattr(copy, name)) == room
        assert len(set(getattr(copy, name))) == 1
    assert (copy.pid, copy.stage) == (4711, Stage.RUNNING)


def test_shorter_text_after_a_longer_one_shows_no_rest(slot, writer):
    """The URI of the last request must not shine through the next one."""
    writer.begin_request(0, b"DELETE", b"/a-long-address", b"/srv/long.py", b"somebody", 0)
    writer.begin_request(0, b"GET", b"/", b"", b"", 0)
    copy = read_slot(slot)
    assert (copy.method, copy.uri, copy.script, copy.user) == ("GET", "/", "", "")


def test_ended_requests_are_counted_with_their_times(slot, writer):
    """Requests, failures, duration and processor time of the last request."""
    writer.begin_request(10 * NS, b"GET", b"/", b"", b"", 0)
    writer.end_request(12 * NS, NS // 2, failed=False)
    writer.begin_request(20 * NS, b"GET", b"/", b"", b"", 0)
    writer.end_request(21 * NS, NS // 4, failed=True)
    copy = read_slot(slot)
    assert (copy.requests, copy.requests_5xx) == (2, 1)
    assert (copy.last_duration_s, copy.last_cpu_s) == (1.0, 0.25)


def test_every_word_lands_in_the_field_of_its_name(slot):
    """A swapped pair of words would show parked connections as pending ones."""
    words = SlotWriter(slot).words
    for word in Word:
        words[word] = (word + 1) * NS
    copy = read_slot(slot)
    for word in Word:
        name, _, unit = word.name.lower().rpartition("_")
        wanted, value = f"{name}_s" if unit == "ns" else word.name.lower(), (word + 1) * NS
        if hasattr(copy, wanted):
            assert getattr(copy, wanted) == (value / NS if unit == "ns" else value), word
        else:
            assert word is Word.SEQUENCE, f"nobody reads {word.name}"


def test_sequence_is_even_after_every_complete_write(slot, writer):
    """Readers take an odd number for a writer that is inside."""
    writer.begin_request(0, b"GET", b"/", b"", b"", 0)
    assert sequence_of(slot) == 2
    writer.end_request(1, 1, failed=True)
    assert sequence_of(slot) == 4


def test_writer_that_died_halfway_still_gives_a_clamped_copy(slot, writer):
    """An odd sequence for ever costs a few tries, never the reader."""
    writer.begin_request(5 * NS, b"GET", b"/half", b"", b"", 0)
    slot[:8].cast("Q")[0] += 1
    slot[layout._LENGTHS_AT + 2 : layout._LENGTHS_AT + 4] = b"\xff\xff"
    copy = read_slot(slot)
    assert copy.uri.startswith("/half")
    assert len(copy.uri) == TEXT_ROOMS["uri"]


@given(seed=st.integers())
def test_any_page_reads_without_raising_and_within_its_rooms(seed):
    """What a hostile worker writes is bounded by the layout, not by its lengths."""
    page = Random(seed).randbytes(SLOT_BYTES)
    copy = read_slot(memoryview(page))
    for name, room in TEXT_ROOMS.items():
        assert len(getattr(copy, name)) <= room
    for field in fields(SlotCopy):
        value = getattr(copy, field.name)
        if not isinstance(value, (str, Stage)):
            assert 0 <= value < 2**64


def areas():
    """Name and byte range of everything in a slot."""
    yield "words", 0, 8 * len(Word)
    yield "stage", layout.STAGE_AT, layout.STAGE_AT + 1
    yield "lengths", layout._LENGTHS_AT, layout._LENGTHS_AT + 2 * len(layout._TEXTS)
    for name, (start, room) in layout._TEXTS.items():
        yield name, start, start + room


def test_layout_areas_do_not_overlap_and_fit_the_slot():
    """Two fields at one place would show each other's bytes."""
    ordered = sorted(areas(), key=lambda area: area[1])
    for (name, _, end), (following, start, _) in pairwise(ordered):
        assert end <= start, f"{name} runs into {following}"
    assert ordered[-1][2] <= SLOT_BYTES


def numbers_in(method):
    """Every index of `words`, and every number handed to put_text, in one method."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    scope = vars(layout)
    words, texts = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "words":
            assert isinstance(node.slice, ast.Name)
            words.add(scope[node.slice.id])
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "put_text":
            texts.append(
                [
                    argument.value if isinstance(argument, ast.Constant) else scope[argument.id]
                    for argument in node.args[1:4]
                ]
            )
    return words, texts


def test_numbers_written_out_on_the_hot_path_are_those_of_the_layout():
    """begin_request and end_request avoid look-ups; their numbers must follow the tables."""
    words, texts = numbers_in(SlotWriter.begin_request)
    assert words == {
        Word.SEQUENCE,
        Word.REQUEST_STARTED_NS,
        Word.CONTENT_LENGTH,
        Word.STAGE_SINCE_NS,
    }
    assert texts == [
        [layout._LENGTHS_AT + 2 * index, start, room]
        for index, (start, room) in enumerate(layout._TEXTS.values())
    ]
    words, _ = numbers_in(SlotWriter.end_request)
    assert words == {
        Word.SEQUENCE,
        Word.REQUESTS,
        Word.REQUEST_STARTED_NS,
        Word.LAST_DURATION_NS,
        Word.LAST_CPU_NS,
        Word.REQUESTS_5XX,
    }
