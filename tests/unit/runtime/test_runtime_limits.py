"""request_queue_timeout and the random part of pm.max_requests, with clocks by hand."""

import pytest

from pyfpm.errors import BadRequest
from pyfpm.runtime.queue_limit import QueueLimit
from pyfpm.runtime.recycling import draw_limit

NOW_S = 1_700_000_000.0


class Scene:
    def __init__(self, timeout_s):
        self.lines = []
        self.now_ns = 1
        self.limit = QueueLimit(timeout_s, self.lines.append, lambda: NOW_S, lambda: self.now_ns)

    def check(self, waited_s):
        self.limit.check({"REQUEST_START": f"{NOW_S - waited_s:.3f}"})


def test_request_that_waited_longer_is_refused_with_the_time_to_come_back():
    """Whole seconds, and never 0."""
    for timeout_s, retry_after in ((0.2, "1"), (2, "2"), (2.5, "3")):
        with pytest.raises(BadRequest) as caught:
            Scene(timeout_s).check(timeout_s + 0.01)
        assert caught.value.status == 503
        assert caught.value.headers == (("Retry-After", retry_after),)


def test_request_within_the_time_or_without_a_stamp_passes():
    """The limit itself is within."""
    scene = Scene(2)
    scene.check(2)
    scene.check(0)
    scene.limit.check({})
    assert not scene.lines


def test_log_gets_one_line_a_second():
    """However many are refused; the next line says how many there were."""
    scene = Scene(1)
    for _ in range(100):
        with pytest.raises(BadRequest):
            scene.check(1.5)
    assert len(scene.lines) == 1
    scene.now_ns += 1_000_000_000
    with pytest.raises(BadRequest):
        scene.check(1.5)
    assert scene.lines[1].endswith("refused with 503 (100 since the last such line)")


@pytest.mark.parametrize("most", [1, 5, 100, 10_000])
def test_limit_without_jitter_is_exact(most):
    """0% varies nothing."""
    assert draw_limit(most, 0.0) == most


def test_limit_varies_down_to_its_jitter_and_never_below_one():
    """All values between are possible, none beyond."""
    drawn = {draw_limit(100, 0.1, lambda size, n=n: n.to_bytes(size, "big")) for n in range(1000)}
    assert drawn == set(range(90, 101))
    assert min(draw_limit(3, 1.0) for _ in range(200)) >= 1
