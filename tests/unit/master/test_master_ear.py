"""What workers say at the wrong moment without having done wrong."""

from types import SimpleNamespace

import pytest

from pyfpm.logs import Log
from pyfpm.master.ear import Ear
from pyfpm.master.endings import BOOT, RELOAD
from pyfpm.master.handles import WorkerState
from pyfpm.messages import BootFailed, LogLine, Ready


def test_boot_that_fails_after_the_order_to_leave_breaks_no_rule():
    """A reload tells a worker to go that still imports; the import may fail all the same."""
    refused = []
    link = SimpleNamespace(refuse=refused.append)
    worker = SimpleNamespace(
        was_ready=False, leaves_for=RELOAD, link=link, state=WorkerState.DRAINING
    )
    Ear(SimpleNamespace()).listener(worker)(BootFailed("import failed"))
    assert refused == []


@pytest.mark.parametrize(("late_s", "lines"), [(0, 0), (0.9, 0), (1.5, 1), (100, 1)])
def test_messages_that_wait_for_long_are_told_of_once_in_a_while(late_s, lines, caplog):
    """A moment's wait is nobody's concern, and a flood fills no log."""
    messages = SimpleNamespace(late_s=late_s)
    ear = Ear(SimpleNamespace(messages=messages, log=Log("shop")))
    for _ in range(10):
        ear.tell()
    assert len(caplog.messages) == lines


@pytest.mark.parametrize("answer", [Ready(0.1, preloaded=True, reason=""), BootFailed("import")])
@pytest.mark.parametrize("times", [1, 2])
def test_answer_of_a_worker_that_was_given_up_is_neither_believed_nor_accused(answer, times):
    """A Ready would have the one whose place it takes drain for it, and it is being killed."""
    refused, stopped = [], []
    worker = SimpleNamespace(
        was_ready=False,
        leaves_for=BOOT,
        link=SimpleNamespace(refuse=refused.append),
        state=WorkerState.ENDING,
        booted=lambda: stopped.append("clock"),
    )
    keeper = SimpleNamespace()  # on which every call would be an AttributeError
    for _ in range(times):
        Ear(keeper).listener(worker)(answer)
    assert refused == []
    assert stopped == ["clock"] * times
    assert not worker.was_ready


@pytest.mark.parametrize("state", [WorkerState.BOOTING, WorkerState.SERVING])
def test_second_failure_of_a_boot_is_accused(state):
    """Nobody has given this one up: it has said what it may say once."""
    refused = []
    worker = SimpleNamespace(
        was_ready=False,
        leaves_for=BOOT,
        link=SimpleNamespace(refuse=refused.append),
        state=state,
    )
    Ear(SimpleNamespace()).listener(worker)(BootFailed("a lie"))
    assert refused == ["BootFailed is not for a worker to say now"]


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("one line", 0.1, 1),
        ("a traceback\n" * 40, 1, 10),
        ("\n" * 8000, 20, 50),
        ("\x0c" * 8000, 20, 50),
    ],
)
def test_text_costs_what_the_log_makes_of_it(text, least, most):
    """The log thins out thousands of lines, so they are no reason to be deaf to the others."""
    paid = []
    keeper = SimpleNamespace(messages=SimpleNamespace(pay=paid.append), log=Log("shop"))
    Ear(keeper).listener(SimpleNamespace(pid=1))(LogLine("warning", text))
    assert least <= sum(paid) <= most
