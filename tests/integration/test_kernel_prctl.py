"""prctl: attributes as /proc shows them afterwards."""

import ctypes
import os
import select
import signal

import pytest
from forked import Forked, run_in_child
from harness.processes import process_fields

from pyfpm.kernel import prctl

_PR_GET_PDEATHSIG, _PR_GET_CHILD_SUBREAPER = 2, 37


def read_prctl(option):
    value = ctypes.c_int()
    ctypes.CDLL(None).prctl(option, ctypes.byref(value), 0, 0, 0)
    return value.value


def test_attributes_are_set():
    """Each call does what its name says."""

    def check():
        assert not prctl.has_no_new_privs()
        prctl.set_no_new_privs()
        assert prctl.has_no_new_privs()
        prctl.set_parent_death_signal(signal.SIGTERM)
        prctl.set_child_subreaper()
        prctl.set_name("a name beyond fifteen bytes")
        fields = process_fields(os.getpid())
        assert fields["NoNewPrivs"] == "1"
        assert fields["Name"] == "a name beyond f"
        assert read_prctl(_PR_GET_PDEATHSIG) == signal.SIGTERM
        assert read_prctl(_PR_GET_CHILD_SUBREAPER) == 1

    run_in_child(check)


def test_death_signal_comes_when_the_parent_dies():
    """Nothing stays behind a master that was killed."""

    def be_parent(orders, tell):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            prctl.set_parent_death_signal(signal.SIGTERM)
            os.write(writer, b"1")
            signal.pause()
        os.read(reader, 1)
        os.write(2, b"")
        tell(b"r")
        for byte in child.to_bytes(4, "little"):
            tell(bytes([byte]))
        os.read(orders, 1)

    with Forked(be_parent) as parent:
        assert parent.hear() == b"r"
        child = int.from_bytes(b"".join(parent.hear() for _ in range(4)), "little")
        pidfd = os.pidfd_open(child)
        parent.kill()
        assert select.select([pidfd], [], [], 5)[0], "the child lives on"
        os.close(pidfd)


def test_error_of_the_kernel_names_the_call():
    """An OSError with number and text as from the os module."""
    with pytest.raises(OSError, match="prctl 9999: Invalid argument"):
        prctl._prctl(9999, 0)
