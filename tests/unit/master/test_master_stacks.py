"""Stacks: from what faulthandler of each Python writes to what an operator reads."""

import pytest

from pyfpm.master.traces import parse_stacks, render_stacks

PYTHON_3_11 = """\
Thread 0x00007f2b8c9ff6c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/srv/shop/pump.py", line 40 in run
  File "/usr/lib/python3.11/threading.py", line 1038 in _bootstrap_inner

Current thread 0x00007f2b8d0b1040 (most recent call first):
  File "/srv/shop/report.py", line 80 in total
  File "/srv/shop/app.py", line 14 in app
  File "/srv/shop/wsgi.py", line 5 in __call__
"""
PYTHON_3_14 = """\
Thread 0x00007f2b8c9ff6c0 [pump] (most recent call first):
  File "/srv/shop/pump.py", line 40 in run

Current thread 0x00007f2b8d0b1040 [python] (most recent call first):
  Garbage-collecting
  File "/srv/shop/app.py", line 14 in app
"""
MINDER = """\
Thread 0x00007f2b8c9ff6c0 (most recent call first):
  File "/proc/self/fd/5/runtime/minder.py", line 73 in run
  File "/usr/lib/python3.11/threading.py", line 1038 in _bootstrap_inner
  File "/usr/lib/python3.11/threading.py", line 995 in _bootstrap

Thread 0x00007f2b8d0b1040 (most recent call first):
  File "/srv/app.py", line 1 in app
"""


def render(text, depth=20):
    return render_stacks(parse_stacks(text), depth)


def test_main_thread_comes_first_and_the_newest_call_last():
    """The guilty function is the last line of the first stack, as in a traceback."""
    assert render(PYTHON_3_11).splitlines() == [
        "main thread 0x00007f2b8d0b1040, newest call last:",
        "  __call__() /srv/shop/wsgi.py:5",
        "  app() /srv/shop/app.py:14",
        "  total() /srv/shop/report.py:80",
        "thread 0x00007f2b8c9ff6c0, newest call last:",
        "  _bootstrap_inner() /usr/lib/python3.11/threading.py:1038",
        "  run() /srv/shop/pump.py:40",
        "  wait() /usr/lib/python3.11/threading.py:324",
    ]


def test_names_of_threads_and_remarks_of_later_pythons_are_kept():
    """What is not a call stands where it stood."""
    assert render(PYTHON_3_14).splitlines() == [
        "main thread 0x00007f2b8d0b1040 [python], newest call last:",
        "  app() /srv/shop/app.py:14",
        "  Garbage-collecting",
        "thread 0x00007f2b8c9ff6c0 [pump], newest call last:",
        "  run() /srv/shop/pump.py:40",
    ]


def test_depth_leaves_out_the_oldest_calls_and_says_how_many():
    """request_slowlog_trace_depth keeps the newest."""
    lines = render(PYTHON_3_11, depth=1).splitlines()
    assert lines[1:3] == ["  ... 2 older calls left out", "  total() /srv/shop/report.py:80"]


def test_stack_that_python_itself_has_cut_says_so():
    """Beyond 100 calls faulthandler writes three dots."""
    text = PYTHON_3_11.rstrip("\n") + "\n  ...\n"
    assert "  ... older calls left out" in render(text)
    assert "  ... at least 2 older calls left out" in render(text, depth=1)


def test_dump_that_python_has_cut_after_100_threads_names_no_main_thread():
    """The main thread would have been the last."""
    assert not any(thread.is_main for thread in parse_stacks(PYTHON_3_11 + "\n...\n"))


def test_calls_of_pyfpm_below_the_application_are_left_out():
    """They are the same in every entry; above it, or alone, they are shown."""
    loop = """\
  File "/proc/self/fd/5/runtime/engine.py", line 97 in run
  File "<string>", line 13 in <module>
"""
    head = "Current thread 0x00007f2b8d0b1040 (most recent call first):\n"
    body = """\
  File "/proc/self/fd/5/runtime/body.py", line 3 in readinto
  File "/srv/shop/app.py", line 14 in app
"""
    assert render(head + body + loop, depth=2).splitlines()[1:] == [
        "  app() /srv/shop/app.py:14",
        "  readinto() pyfpm/runtime/body.py:3",
    ]
    assert render(head + loop).splitlines()[1:] == [
        "  <module>() <string>:13",
        "  run() pyfpm/runtime/engine.py:97",
    ]


def test_minder_is_left_out():
    """It does the same in every worker, and is nothing of the application's."""
    minder, main = parse_stacks(MINDER)
    assert minder.is_minder
    assert not main.is_minder
    assert "minder" not in render(MINDER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        "...",
        "Thread 0x (most recent call first):",
        '  File "", line 1 in ',
        "  File ???, line ??? in ???",
        "  " + '", line 1 in ' * 20_000,
        "Thread 0x1 (most recent call first):\n" * 5_000,
        "x\n" * 200_000,
        "\x1b[31mred\x00\udcff",
    ],
    ids=range(10),
)
def test_rubbish_is_rendered_within_bounds(text):
    """A hostile worker writes what it likes: nothing raises, nothing grows without end."""
    shown = render(text)
    assert len(shown) < 20_000


def test_lines_of_a_worker_never_begin_at_the_left_edge():
    """Otherwise one could write an entry that looks like another pool's."""
    shown = render("[21-Nov-2026 10:00:00]  [pool bank] pid 1\nrequest = GET /")
    head, *rest = shown.splitlines()
    assert head == "unknown thread, newest call last:"
    assert all(line.startswith("  ") for line in rest)
