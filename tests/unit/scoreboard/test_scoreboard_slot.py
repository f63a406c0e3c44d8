"""A worker's slot: what the writer says is what a reader copies, whatever else stands there."""

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
# A text of a request: what latin-1 can say, but for the NUL that separates texts.
TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=400)


def texts_of(method, uri, script="", user=""):
    return f"{method}\0{user}\0{script}\0{uri}".encode("latin-1")


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
    method=TEXT,
    uri=TEXT,
    script=TEXT,
    user=TEXT,
    length=st.integers(0, 2**63),
    now_ns=st.integers(0, 2**63),
)
def test_begun_request_reads_back_as_it_was_written(method, uri, script, user, length, now_ns):
    """Writer and reader are inverse: every text in its own field, every number in its own word."""
    area = memoryview(bytearray(SLOT_BYTES))
    writer = SlotWriter(area)
    writer.begin_request(now_ns, texts_of(method, uri, script, user), length)
    copy = read_slot(area)
    assert (copy.method, copy.uri, copy.script, copy.user) == (method, uri, script, user)
    assert (copy.content_length, copy.stage) == (length, Stage.RUNNING)
    assert copy.request_started_s == copy.stage_since_s == now_ns / NS


def test_a_giant_uri_is_cut_and_touches_nothing_else(slot, writer):
    """It shows its beginning; the shorter texts before it and the words stay whole."""
    writer.begin_request(0, texts_of("GET", "U" * 9000, "/srv/a.py", "me"), 0)
    copy = read_slot(slot)
    assert (copy.method, copy.script, copy.user) == ("GET", "/srv/a.py", "me")
    assert copy.uri == "U" * len(copy.uri)
    assert 1500 < len(copy.uri) < layout.TEXT_ROOM
    assert (copy.pid, copy.stage) == (4711, Stage.RUNNING)


def test_a_text_with_nuls_of_its_own_ends_in_the_uri(slot, writer):
    """What a client put into its URI cannot move into another field."""
    writer.begin_request(0, texts_of("GET", "/a\0root\0/etc/passwd"), 0)
    copy = read_slot(slot)
    assert (copy.method, copy.user, copy.script) == ("GET", "", "")
    assert copy.uri == "/a\0root\0/etc/passwd"


def test_shorter_text_after_a_longer_one_shows_no_rest(slot, writer):
    """The URI of the last request must not shine through the next one."""
    writer.begin_request(0, texts_of("DELETE", "/a-long-address", "/srv/long.py", "somebody"), 0)
    writer.begin_request(0, texts_of("GET", "/"), 0)
    copy = read_slot(slot)
    assert (copy.method, copy.uri, copy.script, copy.user) == ("GET", "/", "", "")


def test_ended_requests_are_counted_with_their_times(slot, writer):
    """Requests, failures and the duration of the last request."""
    writer.begin_request(10 * NS, texts_of("GET", "/"), 0)
    writer.end_request(2 * NS, False)
    writer.begin_request(20 * NS, texts_of("GET", "/"), 0)
    writer.end_request(1 * NS, True)
    copy = read_slot(slot)
    assert (copy.requests, copy.requests_5xx) == (2, 1)
    assert copy.last_duration_s == 1.0


def test_the_last_request_gets_its_share_of_the_processor_time(slot, writer):
    """Of 0.9 s for requests that took 3 s, the last one, which took 1 s, gets 0.3 s."""
    writer.begin_request(10 * NS, texts_of("GET", "/"), 0)
    writer.end_request(1 * NS, False)
    writer.share_cpu(9 * NS // 10, 3 * NS)
    assert read_slot(slot).last_cpu_s == 0.3


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
    writer.begin_request(0, texts_of("GET", "/"), 0)
    assert sequence_of(slot) == 2
    writer.end_request(1, True)
    assert sequence_of(slot) == 4


def test_writer_that_died_halfway_still_gives_a_clamped_copy(slot, writer):
    """An odd sequence for ever costs a few tries, never the reader."""
    writer.begin_request(5 * NS, texts_of("GET", "/half"), 0)
    slot[:8].cast("Q")[0] += 1
    slot[layout.TEXT_LENGTH_AT : layout.TEXT_LENGTH_AT + 2] = b"\xff\xff"
    copy = read_slot(slot)
    assert copy.uri.startswith("/half\0")
    assert len(copy.uri) < layout.TEXT_ROOM


@given(seed=st.integers())
def test_any_page_reads_without_raising_and_within_its_rooms(seed):
    """What a hostile worker writes is bounded by the layout, not by its lengths."""
    page = Random(seed).randbytes(SLOT_BYTES)
    copy = read_slot(memoryview(page))
    texts = copy.method, copy.user, copy.script, copy.uri
    assert sum(map(len, texts)) <= layout.TEXT_ROOM
    for field in fields(SlotCopy):
        value = getattr(copy, field.name)
        if not isinstance(value, (str, Stage)):
            assert 0 <= value < 2**64


def areas():
    """Name and byte range of everything in a slot."""
    yield "words", 0, 8 * len(Word)
    yield "stage", layout.STAGE_AT, layout.STAGE_AT + 1
    yield "text length", layout.TEXT_LENGTH_AT, layout.TEXT_LENGTH_AT + 2
    yield "texts", layout.TEXT_AT, layout.TEXT_AT + layout.TEXT_ROOM


def test_layout_areas_do_not_overlap_and_fit_the_slot():
    """Two fields at one place would show each other's bytes."""
    ordered = sorted(areas(), key=lambda area: area[1])
    for (name, _, end), (following, start, _) in pairwise(ordered):
        assert end <= start, f"{name} runs into {following}"
    assert ordered[-1][2] <= SLOT_BYTES
