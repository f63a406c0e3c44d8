"""What ps shows."""

import os

import pytest
from forked import run_in_child

from pyfpm.kernel.title import set_title


def shown():
    """Return the command line with its NULs, which ps shows as blanks, and the short name."""
    with open("/proc/self/cmdline", "rb") as file:
        line = file.read()
    with open("/proc/self/comm", encoding="utf-8") as file:
        return line.decode(), file.read().strip()


@pytest.mark.parametrize(
    ("title", "comm"),
    [
        ("pyfpm: master", "master"),
        ("pyfpm: pool shop worker 0", "shop worker 0"),
        ("pyfpm: pool x zygote", "x zygote"),
    ],
)
def test_title_is_the_command_line_and_the_short_name(title, comm):
    """`ps`, `top` and `pgrep` tell the processes apart."""

    def check():
        set_title(title)
        assert shown() == (title + "\0", comm)

    run_in_child(check)


def test_shorter_title_after_a_longer_one_shows_no_rest():
    """A worker's title replaces its zygote's."""

    def check():
        set_title("pyfpm: pool shop zygote and more")
        set_title("pyfpm: a")
        assert shown()[0] == "pyfpm: a\0"

    run_in_child(check)


def test_title_longer_than_the_room_is_cut_and_the_environment_is_left_alone():
    """Behind argv stands the environment, which the application reads."""

    def check():
        with open("/proc/self/environ", "rb") as file:
            before = file.read()
        set_title("pyfpm: pool " + "n" * 5000 + "é" * 100)
        assert shown()[0].startswith("pyfpm: pool n")
        assert len(shown()[0]) < 2000
        with open("/proc/self/environ", "rb") as file:
            assert file.read() == before
        assert os.environ["PATH"]

    run_in_child(check)


def test_parent_keeps_its_own_title():
    """Argv is copied on write; a worker does not rename its zygote."""
    before = shown()
    run_in_child(lambda: set_title("pyfpm: other"))
    assert shown() == before
