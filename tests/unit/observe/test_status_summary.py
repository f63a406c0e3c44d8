"""What is counted how."""

from dataclasses import replace
from typing import get_type_hints

from hypothesis import given
from hypothesis import strategies as st
from scoreboard_samples import BOOTING, EMPTY_SLOT, NOTICE, NOW_EPOCH_S, NOW_S, PARKED, RUNNING

from pyfpm.observe import render_json, render_table, render_text, status_to_dict, summarise
from pyfpm.scoreboard import NoticeCopy, SlotCopy, Stage


def summary(*slots, notice=NOTICE):
    return summarise(notice, slots, NOW_S, NOW_EPOCH_S)


def test_each_stage_counts_as_the_contract_says():
    """Booting and free slots are neither idle nor active; a draining worker is active."""
    slots = [replace(EMPTY_SLOT, stage=stage) for stage in Stage]
    status = summary(*slots)
    assert (status.idle, status.active, status.total) == (1, 4, 5)
    assert [process.state for process in status.processes] == [
        "Starting",
        "Idle",
        "Reading headers",
        "Running",
        "Finishing",
        "Ending",
    ]


def test_counters_add_the_living_to_the_ended():
    """Requests, errors, hand-offs, refusals and parked connections survive their worker."""
    status = summary(RUNNING, PARKED, BOOTING)
    assert status.accepted == 1000 + 11 + 5
    assert status.requests_5xx == 4 + 1
    assert status.handed_off == 30 + 8
    assert status.refused == 6 + 1
    assert status.parked == 2 + 6


def test_refusals_add_the_living_to_the_ended_and_fit():
    """By reason, whatever a worker wrote into its slot."""
    slots = [replace(RUNNING, bad_requests=2, too_large=1), replace(PARKED, timeouts=2**64 - 1)]
    refusals = summary(*slots).refusals
    largest = 2**63 - 1
    assert refusals == {"protocol_error": 4, "bad_request": 5, "too_large": 1, "timeout": largest}


def test_more_active_than_the_master_saw_raises_the_maximum():
    """No page shows more active workers than its own maximum."""
    status = summary(*[RUNNING] * 6)
    assert (status.active, status.max_active) == (6, 6)


def test_longer_queue_than_its_maximum_raises_the_maximum():
    """No page shows a longer queue than its own maximum."""
    assert summary(notice=replace(NOTICE, listen_queue=9)).max_listen_queue == 9


def test_busy_worker_shows_the_present_duration():
    """While a request runs its age is shown, and CPU and memory of the last one are not."""
    process = summary(RUNNING).processes[0]
    assert process.duration_us == 250_000
    assert (process.last_cpu_percent, process.last_memory_bytes) == (0.0, 0)


def test_idle_worker_shows_the_last_request():
    """Once idle, duration, CPU share and memory are those of the last request."""
    process = summary(PARKED).processes[0]
    assert process.duration_us == 20_000
    assert process.last_cpu_percent == 75.0
    assert process.last_memory_bytes == 48_000_000


def test_reading_worker_shows_how_long_it_has_been_reading():
    """The request's own start is not known before it runs."""
    slot = replace(RUNNING, stage=Stage.READING, stage_since_s=NOW_S - 0.1)
    assert summary(slot).processes[0].duration_us == 100_000


def test_idle_worker_letter_tells_parked_connections():
    """`K` is an idle worker that holds parked connections."""
    busy = replace(RUNNING, parked=3)
    letters = [p.letter for p in summary(PARKED, replace(PARKED, parked=0), busy).processes]
    assert letters == ["K", "_", "W"]


def test_times_in_the_future_are_clamped():
    """A scribbled slot cannot make a worker start tomorrow or a request last a negative time."""
    slot = replace(RUNNING, started_epoch_s=2**64 - 1, request_started_s=NOW_S + 60)
    process = summary(slot).processes[0]
    assert process.start_epoch_s == int(NOW_EPOCH_S)
    assert process.start_since_s == 0
    assert process.duration_us == 0


def test_utf8_in_a_request_line_is_shown_as_it_was_meant():
    """Bytes that are UTF-8 become text, other bytes become escapes."""
    slot = replace(RUNNING, uri="/caf\u00c3\u00a9?\u00ff")
    assert summary(slot).processes[0].uri == "/caf\u00e9?\\xff"


_word = st.integers(0, 2**64 - 1)
_VALUES = {
    int: _word,
    float: _word.map(lambda word: word / 1e9),
    str: st.text(st.characters(max_codepoint=255), max_size=20),
    Stage: st.sampled_from(Stage),
}


def copies(kind):
    return st.builds(kind, **{name: _VALUES[of] for name, of in get_type_hints(kind).items()})


@given(copies(NoticeCopy), st.lists(copies(SlotCopy), max_size=4), _word)
def test_whatever_the_slots_say_every_page_is_rendered(notice, slots, now_ns):
    """No content of the scoreboard breaks a page, or puts a control character on one."""
    notice = replace(notice, start_epoch_s=1_795_255_100)
    status = summarise(notice, slots, now_ns / 1e9, NOW_EPOCH_S)
    text = render_text(status, full=True)
    table = render_table([status_to_dict(status, full=True)], full=True)
    narrow = render_table([status_to_dict(status, full=True)], full=True, width=40)
    assert all(c == "\n" or c.isprintable() for c in text + table + narrow)
    assert render_json(status, full=True).isascii()
    assert max(status.accepted, status.parked, status.requests_5xx, status.handed_off) < 2**63
    for process in status.processes:
        assert process.requests < 2**63
        assert 0 <= process.start_epoch_s <= NOW_EPOCH_S
        assert 0 <= process.duration_us < 2**63
        assert process.pid <= 2**22
