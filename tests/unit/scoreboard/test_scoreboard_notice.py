"""The notice: what the master publishes is what a worker reads."""

from dataclasses import fields
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfpm.scoreboard import NOTICE_BYTES, NoticeCopy, NoticeWriter, read_notice
from pyfpm.scoreboard import notice as layout

ROOMS = {name: room for name, (_, room) in layout._TEXTS.items()}
values = st.fixed_dictionaries(
    {
        field.name: st.text(max_size=ROOMS[field.name] // 4)
        if field.name in ROOMS
        else st.integers(0, 2**64 - 1)
        for field in fields(NoticeCopy)
    }
)


@pytest.fixture
def page():
    return memoryview(bytearray(NOTICE_BYTES))


def sequence_of(page):
    return page[:8].cast("Q")[0]


@given(values=values)
def test_published_notice_reads_back_as_it_was(values):
    """Publishing and reading are inverse for every field."""
    page = memoryview(bytearray(NOTICE_BYTES))
    NoticeWriter(page).publish(**values)
    assert read_notice(page) == NoticeCopy(**values)


def test_fresh_page_is_an_empty_notice(page):
    """A worker that looks before the first publication sees zeros."""
    assert read_notice(page) == NoticeCopy()


def test_changes_leave_the_other_fields_alone(page):
    """Publishing one number does not take the others back."""
    writer = NoticeWriter(page)
    writer.publish(pool="shop", max_children=5)
    writer.publish(state="running")
    assert read_notice(page) == NoticeCopy(pool="shop", max_children=5, state="running")


def test_publishing_nothing_new_does_not_touch_the_page(page):
    """Workers that read meanwhile are not made to try again."""
    writer = NoticeWriter(page)
    writer.publish(pool="shop", listen_queue=3)
    before = sequence_of(page)
    writer.publish(listen_queue=3)
    writer.publish()
    assert sequence_of(page) == before == 2
    writer.publish(listen_queue=4)
    assert sequence_of(page) == 4


def test_long_reason_of_other_scripts_is_cut_within_its_room(page):
    """A cut inside a character shows a replacement sign, not an exception in every worker."""
    reason = "import échoué: « ça ne marche pas 😀 » " * 40
    writer = NoticeWriter(page)
    writer.publish(reason=reason, pool="shop", slow_requests=7)
    copy = read_notice(page)
    kept = copy.reason.rstrip("\ufffd")
    assert reason.startswith(kept)
    assert ROOMS["reason"] - 4 < len(kept.encode()) <= ROOMS["reason"]
    assert (copy.pool, copy.slow_requests) == ("shop", 7)


def test_reason_with_half_a_surrogate_pair_is_published(page):
    """An application's traceback may hold text that is no Unicode; it must not stop the master."""
    writer = NoticeWriter(page)
    writer.publish(reason="bad \ud800 text")
    assert read_notice(page).reason == "bad ? text"


def test_value_that_does_not_fit_leaves_the_notice_as_it_was(page):
    """A failed publication must not leave the sequence odd for ever."""
    writer = NoticeWriter(page)
    writer.publish(pool="shop", max_active=2)
    with pytest.raises(Exception, match=r"argument|range|int"):
        writer.publish(max_active=2**64)
    assert sequence_of(page) % 2 == 0
    writer.publish(state="running")
    assert read_notice(page) == NoticeCopy(pool="shop", max_active=2, state="running")


@given(seed=st.integers())
def test_any_page_reads_without_raising_and_within_its_rooms(seed):
    """Lengths that lie are cut to the room of their text."""
    page = Random(seed).randbytes(NOTICE_BYTES)
    copy = read_notice(memoryview(page))
    for name, room in ROOMS.items():
        assert len(getattr(copy, name)) <= room


def test_layout_areas_do_not_overlap_and_fit_the_page():
    """Words, lengths and texts stand apart."""
    areas = [
        (8, 8 + layout._WORDS.size),
        (layout._TEXT_LENGTHS_AT, layout._TEXT_LENGTHS_AT + 2 * len(layout._TEXTS)),
        *((start, start + room) for start, room in layout._TEXTS.values()),
    ]
    ordered = sorted(areas)
    assert all(end <= start for (_, end), (start, _) in pairwise(ordered))
    assert ordered[-1][1] <= NOTICE_BYTES
