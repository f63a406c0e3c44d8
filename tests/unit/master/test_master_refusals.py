"""What the log says of bad input: the first few, and then how many more there were."""

import logging
from types import SimpleNamespace

import pytest

from pyfpm.logs import Log
from pyfpm.master.refusals import LINES_MOST, WINDOW_S, RefusalLog
from pyfpm.scoreboard.refusal import AllowList, Refusal, refusal_of

WORKER = SimpleNamespace(pid=7)


class Pool:
    def __init__(self):
        self.now_s = 1000.0
        self.counts = dict.fromkeys([*Refusal, None], 0)
        self.log = RefusalLog(Log("shop"), lambda: dict(self.counts), lambda: self.now_s)

    def refuse(self, reason, times=1, reported=None):
        self.counts[reason] += times
        for _ in range(times if reported is None else reported):
            self.log.note(WORKER, reason, "pid 1 of uid 2", f"it is {reason}")

    def cut_off(self, allowed, times=1, reported=None):
        self.counts[None] += times
        for _ in range(times if reported is None else reported):
            self.log.note(WORKER, allowed, "pid 1 of uid 2", f"not in {allowed}: refused")

    def pass_time(self, seconds):
        for _ in range(int(seconds)):
            self.now_s += 1
            self.log.tell()


@pytest.fixture
def pool(caplog):
    caplog.set_level(logging.DEBUG, logger="pyfpm")
    return Pool()


def test_few_refusals_are_a_line_each_with_their_sender(pool, caplog):
    """And nothing more is said of them."""
    pool.refuse(Refusal.TIMEOUT, 2)
    pool.pass_time(60)
    assert caplog.messages == ["child 7: it is timeout (from pid 1 of uid 2)"] * 2
    assert caplog.records[0].fields["reason"] == "timeout"


def test_many_refusals_are_a_few_lines_and_their_number(pool, caplog):
    """Whatever workers report and however many they are; each reason for itself."""
    pool.refuse(Refusal.TIMEOUT, 500, reported=40)
    pool.refuse(Refusal.BAD_REQUEST)
    pool.pass_time(WINDOW_S + 2)
    assert len(caplog.messages) == LINES_MOST + 2
    assert caplog.messages[-1] == f"{500 - LINES_MOST} more refused within 10 s: timeout"


def test_flood_for_an_hour_fills_no_log(pool, caplog):
    """A thousand a second: all are counted in some line."""
    for _ in range(3600):
        pool.refuse(Refusal.PROTOCOL_ERROR, 1000, reported=5)
        pool.pass_time(1)
    pool.pass_time(60)
    assert len(caplog.messages) < 3600
    more = [int(text.split()[0]) for text in caplog.messages if "more" in text]
    single = len(caplog.messages) - len(more)
    assert sum(more) + single == 3_600_000


def test_clients_of_one_list_do_not_hide_those_of_another(pool, caplog):
    """A crowd of strangers at one listener, and one at the other: both are named."""
    pool.cut_off(AllowList.CLIENTS, 500, reported=5)
    pool.cut_off(AllowList.USERS)
    pool.refuse(Refusal.TIMEOUT)
    assert len(caplog.messages) == LINES_MOST + 2
    pool.pass_time(WINDOW_S + 2)
    assert caplog.messages[-1] == f"{500 - LINES_MOST} more refused within 10 s: client not allowed"
    assert [record.levelname for record in caplog.records].count("ERROR") == LINES_MOST + 2


@pytest.mark.parametrize("seconds", [0, 1, WINDOW_S - 1])
def test_last_ones_are_told_of_at_the_end_of_the_pool(pool, caplog, seconds):
    """Nobody looks once a second any more then."""
    pool.cut_off(AllowList.USERS, 30, reported=5)
    pool.refuse(Refusal.TIMEOUT, 20, reported=5)
    pool.pass_time(seconds)
    pool.log.tell(at_once=True)
    more = {text for text in caplog.messages if "more" in text}
    assert more == {
        "25 more refused within 10 s: client not allowed",
        "15 more refused within 10 s: timeout",
    }
    caplog.clear()
    pool.log.tell(at_once=True)
    assert not caplog.messages


def test_quiet_hour_begins_anew(pool, caplog):
    """After a window the first few are shown again."""
    pool.refuse(Refusal.TIMEOUT, 100, reported=5)
    pool.pass_time(60)
    caplog.clear()
    pool.refuse(Refusal.TIMEOUT)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("number", [0, 2**63, 2**64 - 1])
def test_counters_that_lie_break_nothing(pool, caplog, number):
    """A worker writes any number into its slot, smaller ones than before included."""
    pool.refuse(Refusal.TIMEOUT, 100, reported=5)
    pool.pass_time(WINDOW_S + 1)
    pool.counts[Refusal.TIMEOUT] = number
    pool.pass_time(WINDOW_S + 1)
    pool.counts[Refusal.TIMEOUT] = 3
    pool.pass_time(60)
    assert len(caplog.messages) <= LINES_MOST + 3


def test_unknown_reason_and_long_words_are_cut(pool, caplog):
    """What a worker makes up is not passed on."""
    pool.log.note(WORKER, "because", "me", "x")
    assert not caplog.messages
    pool.log.note(WORKER, "timeout", "p" * 60_000, "a\nb")
    assert caplog.messages[0].startswith("child 7: a (from ppp")
    assert len(caplog.messages[0]) < 200


def test_every_status_has_its_reason():
    """What the client did wrong is a refusal; what the server could not do is none."""
    assert refusal_of(400) is Refusal.BAD_REQUEST
    assert refusal_of(408) is Refusal.TIMEOUT
    assert refusal_of(413) is refusal_of(431) is Refusal.TOO_LARGE
    assert refusal_of(503) is None
