"""When RequestTimeout is raised, held back or dropped: every step by hand, with a clock by hand."""

import threading

import pytest

from pyfpm.runtime.time_limit import RequestTimeout, TimeLimit
from pyfpm.scoreboard import SLOT_BYTES, SlotWriter
from pyfpm.scoreboard.slot import Word

NS = 1_000_000_000
LIMIT_S = 2


class Scene:
    """A worker's slot, a clock and the limit; `signal` is what the master's signal does."""

    def __init__(self, limit_s=LIMIT_S):
        self.now_ns = 100 * NS
        self.running = False
        self.interrupted = 0
        self.words = SlotWriter(memoryview(bytearray(SLOT_BYTES))).words
        self.limit = TimeLimit(lambda: self.now_ns)
        self.limit.attach(
            self.words,
            limit_s,
            is_running=lambda: self.running,
            interrupted=self.count,
        )

    def count(self):
        self.interrupted += 1

    def begin(self):
        self.words[Word.REQUEST_STARTED_NS] = self.now_ns
        self.running = self.limit.is_open = True

    def end(self):
        self.running = self.limit.is_open = self.limit.is_held = False

    def pass_s(self, seconds):
        self.now_ns += int(seconds * NS)

    def wait(self, entered):
        with self.limit.waiting():
            entered.append(self.now_ns)
            self.signal()

    def signal(self):
        self.limit.on_signal(63, None)


@pytest.fixture
def scene():
    return Scene()


def test_overdue_request_is_interrupted_once(scene):
    """Not again while it cleans up, however often the signal comes."""
    scene.begin()
    scene.pass_s(LIMIT_S)
    with pytest.raises(RequestTimeout, match=r"request_terminate_timeout \(2 s\)"):
        scene.signal()
    assert not scene.limit.is_open
    scene.limit.is_open = True
    scene.signal()
    scene.limit.reopen()
    scene.signal()
    assert scene.interrupted == 1


@pytest.mark.parametrize("early_s", [1.9, 0.5, 0.006])
def test_request_that_is_not_overdue_is_left_alone(scene, early_s):
    """Then the signal was for the one before."""
    scene.begin()
    scene.pass_s(LIMIT_S - early_s)
    scene.signal()
    scene.pass_s(early_s)
    scene.limit.release()
    assert scene.interrupted == 0


def test_few_milliseconds_do_not_matter(scene):
    """The master rounds."""
    scene.begin()
    scene.pass_s(LIMIT_S - 0.004)
    with pytest.raises(RequestTimeout):
        scene.signal()


def test_signal_between_requests_is_dropped(scene):
    """The last request is long over, and the next is no older for it."""
    scene.begin()
    scene.end()
    scene.pass_s(LIMIT_S + 1)
    scene.signal()
    scene.begin()
    scene.limit.release()
    with scene.limit.waiting():
        pass
    assert scene.interrupted == 0


def test_next_request_has_its_own_limit(scene):
    """The one before was interrupted, and this one may be, too."""
    for _ in range(3):
        scene.begin()
        scene.signal()
        scene.pass_s(LIMIT_S)
        with pytest.raises(RequestTimeout):
            scene.signal()
        scene.end()
        scene.pass_s(1)


def test_step_that_must_be_whole_is_finished_first(scene):
    """It is raised when the step lets go."""
    scene.begin()
    scene.pass_s(LIMIT_S)
    scene.limit.is_held = True
    scene.signal()
    assert scene.interrupted == 0
    with pytest.raises(RequestTimeout):
        scene.limit.release()
    scene.limit.release()
    assert scene.interrupted == 1


def test_step_that_waits_for_the_peer_is_interrupted_there(scene):
    """What was asked for before comes at once, and a signal meanwhile, too."""
    entered = []
    for before in (True, False):
        scene.begin()
        scene.pass_s(LIMIT_S)
        scene.limit.is_held = True
        if before:
            scene.signal()
        with pytest.raises(RequestTimeout):
            scene.wait(entered)
        assert scene.limit.is_held
        scene.end()
    assert len(entered) == 1


def test_what_was_asked_for_does_not_outlive_its_request(scene):
    """A response that was on its way when the signal came has ended by itself."""
    scene.begin()
    scene.pass_s(LIMIT_S)
    scene.limit.is_held = True
    scene.signal()
    scene.end()
    scene.begin()
    scene.limit.release()
    with scene.limit.waiting():
        pass
    assert scene.interrupted == 0


def test_thread_that_writes_the_response_is_not_interrupted(scene):
    """It is the main thread that takes too long."""
    scene.begin()
    scene.pass_s(LIMIT_S)
    scene.limit.is_held = True
    scene.signal()
    thread = threading.Thread(target=scene.limit.release)
    thread.start()
    thread.join()
    assert scene.interrupted == 0
    with pytest.raises(RequestTimeout):
        scene.limit.release()


def test_code_that_runs_after_the_response_may_be_interrupted_later(scene):
    """Not before it has begun: close() is always called."""
    scene.begin()
    scene.pass_s(LIMIT_S)
    scene.limit.is_held = True
    scene.signal()
    scene.limit.is_open = scene.limit.is_held = False
    scene.limit.reopen()
    scene.limit.release()
    with pytest.raises(RequestTimeout):
        scene.signal()


def test_without_a_limit_nothing_is_interrupted():
    """0 is never."""
    scene = Scene(limit_s=0)
    scene.begin()
    scene.pass_s(10_000)
    scene.signal()
    scene.limit.extend(5)
    assert scene.words[Word.EXTENDED_UNTIL_NS] == 0


def test_child_of_the_application_is_not_interrupted(scene):
    """The request is its parent's."""
    scene.begin()
    scene.pass_s(LIMIT_S)
    scene.limit.detach()
    scene.limit.is_open = True
    scene.signal()
    with pytest.raises(RuntimeError, match="no worker of a pyfpm pool"):
        scene.limit.extend(5)


def test_extension_counts_from_now_and_never_shortens(scene):
    """The slot says until when, and for which request."""
    scene.begin()
    started_ns = scene.now_ns
    scene.limit.extend(1)
    assert scene.words[Word.EXTENDED_REQUEST_NS] == 0
    scene.pass_s(1.5)
    scene.limit.extend(10)
    scene.limit.extend(0.1)
    assert scene.words[Word.EXTENDED_REQUEST_NS] == started_ns
    assert scene.words[Word.EXTENDED_UNTIL_NS] == started_ns + int(11.5 * NS)
    scene.pass_s(9.9)
    scene.signal()
    scene.pass_s(0.1)
    with pytest.raises(RequestTimeout, match="as extended"):
        scene.signal()


def test_extension_is_for_one_request(scene):
    """The words stay in the slot, and mean nothing to the next."""
    scene.begin()
    scene.limit.extend(100)
    scene.end()
    scene.pass_s(1)
    scene.begin()
    scene.pass_s(LIMIT_S)
    with pytest.raises(RequestTimeout):
        scene.signal()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), -float("inf")])
def test_extension_that_is_no_time_is_refused(scene, seconds):
    """A finite number above 0."""
    scene.begin()
    with pytest.raises(ValueError, match="finite number above 0"):
        scene.limit.extend(seconds)


@pytest.mark.parametrize("seconds", [1e300, 10**400])
def test_extension_beyond_all_measure_fits_into_the_slot(scene, seconds):
    """Whoever means for ever gets thirty years."""
    scene.begin()
    scene.limit.extend(seconds)
    assert scene.words[Word.EXTENDED_UNTIL_NS] == scene.now_ns + 10**9 * NS


def test_extension_without_a_request_is_an_error(scene):
    """There is nothing to extend."""
    with pytest.raises(RuntimeError, match="no request is running"):
        scene.limit.extend(5)
