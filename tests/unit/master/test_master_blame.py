"""A failed boot names the limit of its pool that is the likely cause, and no limit elsewhere."""

import errno
import os

import pytest
from pool_options import make_options

from pyfpm.master.blame import name_limit, name_shortage

LISTEN = "listen = /run/shop.sock"
DIED = "/etc/pyfpm.conf:3: app = a:b: /usr/bin/python3 exited with code 127 while it booted"
MEMORY = "Traceback (most recent call last):\n  File …\nMemoryError"


@pytest.mark.parametrize(
    ("limit", "text", "named"),
    [
        ("rlimit_as = 10M", DIED, "rlimit_as = 10M"),
        ("rlimit_as = 1000", DIED, "rlimit_as = 1000"),
        ("rlimit_as = 2G", MEMORY, "rlimit_as = 2G"),
        ("rlimit_as = 1G", "OSError: [Errno 12] Cannot allocate memory", "rlimit_as = 1G"),
        (
            "rlimit_as = 90M",
            "ImportError: libblas.so.3: failed to map segment from shared object",
            "rlimit_as = 90M",
        ),
        ("rlimit_files = 64", "OSError: [Errno 24] Too many open files: 'x'", "rlimit_files = 64"),
        ("rlimit_nproc = 5", "RuntimeError: can't start new thread", "rlimit_nproc = 5"),
    ],
)
def test_limit_that_was_probably_hit_is_named(tmp_path, limit, text, named):
    """At the end of the text, which is what a summary shows."""
    options = make_options(tmp_path, LISTEN, limit)
    assert name_limit(text, options) == f"{text} ({named} is the likely cause: raise it)"


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ("rlimit_as = 2G", DIED),
        ("rlimit_as = unlimited", MEMORY),
        ("rlimit_as = 10M", "ModuleNotFoundError: No module named 'shop'"),
        ("rlimit_files = 64", MEMORY),
        ("rlimit_nproc = 5", DIED),
        ("umask = 0022", MEMORY),
        ("rlimit_nproc = 5", "fork: Resource temporarily unavailable: see rlimit_nproc, and so on"),
        ("rlimit_as = 1G", "MemoryError\nValueError: not for want of memory"),
    ],
)
def test_what_a_limit_cannot_have_done_is_left_as_it_is(tmp_path, limit, text):
    """A wrong hint costs more time than none."""
    assert name_limit(text, make_options(tmp_path, LISTEN, limit)) == text


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EMFILE, "raise rlimit_files"),
        (errno.ETOOMANYREFS, "raise rlimit_files, or give the master CAP_SYS_RESOURCE"),
        (errno.EAGAIN, "the zygote does not read what it is sent"),
        (errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
)
def test_what_keeps_the_master_from_asking_for_a_worker_is_named(number, words):
    """With what to do, where something can be done."""
    assert name_shortage(OSError(number, os.strerror(number))).endswith(words)
