"""A worker that refuses: it counts everything and reports the first few."""

import pytest

from pyfpm.errors import BadRequest, ProtocolError
from pyfpm.messages import Refused, decode_message, encode_message
from pyfpm.runtime.refusals import LINES_MOST, WINDOW_S, Refusals
from pyfpm.scoreboard import SLOT_BYTES, SlotWriter, read_slot
from pyfpm.scoreboard.refusal import AllowList, Refusal

GONE = -1  # a descriptor that names nobody


class Worker:
    def __init__(self):
        self.now_s = 5.0
        self.slot = memoryview(bytearray(SLOT_BYTES))
        self.told = []
        words = SlotWriter(self.slot).words
        self.refusals = Refusals(words, self.told.append, lambda: self.now_s)

    @property
    def counts(self):
        slot = read_slot(self.slot)
        return slot.protocol_errors, slot.bad_requests, slot.too_large, slot.timeouts


@pytest.fixture
def worker():
    return Worker()


def test_each_kind_has_its_counter(worker):
    """Malformed, meaningless, too large, too late; a 503 is the server's affair."""
    worker.refusals.note_broken(ProtocolError("version 2"), GONE)
    for status in (400, 413, 431, 408, 503):
        worker.refusals.note_request(BadRequest(status, "why"), GONE)
    worker.refusals.note_late(GONE)
    worker.refusals.note_no_room(GONE)
    assert worker.counts == (1, 1, 3, 2)
    assert len(worker.told) == 7
    assert worker.told[0] == Refused(
        "protocol_error", "a peer that is gone", "protocol error, connection closed: version 2"
    )


def test_only_the_first_few_of_each_reason_are_reported(worker):
    """All are counted; the next window reports again."""
    for _ in range(1000):
        worker.refusals.note_late(GONE)
    worker.refusals.note_no_room(GONE)
    assert len(worker.told) == LINES_MOST + 1
    assert worker.counts == (0, 0, 1, 1000)
    worker.now_s += WINDOW_S
    worker.refusals.note_late(GONE)
    assert len(worker.told) == LINES_MOST + 2


def test_clients_of_each_list_are_reported_apart(worker):
    """One counter, which status shows; the first few of each list have a line."""
    for _ in range(100):
        worker.refusals.note_client(AllowList.CLIENTS, "client 192.0.2.9 is not among", GONE)
    worker.refusals.note_client(AllowList.USERS, "user 5 is not among", GONE)
    assert read_slot(worker.slot).refused == 101
    assert worker.counts == (0, 0, 0, 0)
    assert len(worker.told) == LINES_MOST + 1
    assert worker.told[-1].reason == "listen.allowed_users"
    assert worker.told[-1].text == "user 5 is not among: refused"


def test_role_that_is_not_served_is_a_bad_request(worker):
    """Well framed, and nothing that an application could work with."""
    worker.refusals.note_role("role 7 is not served", GONE)
    assert worker.counts == (0, 1, 0, 0)
    assert worker.told[0].text == "request refused with UNKNOWN_ROLE: role 7 is not served"


def test_report_is_a_short_message(worker):
    """Whatever the sender put into the text."""
    worker.refusals.note(Refusal.BAD_REQUEST, "\x00\ud800" * 50_000, GONE)
    data = encode_message(worker.told[0])
    assert len(data) < 5000
    assert isinstance(decode_message(data), Refused)
