"""Claims about pids: believed of our own children alone."""

import os
import select
import signal
import subprocess

import pytest

from pyfpm.kernel.pidfd import open_child, send_signal


@pytest.fixture
def child():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_living_child_is_believed_and_not_reaped(child):
    """The look itself must not eat the death of the child."""
    pidfd = open_child(child.pid)
    assert pidfd is not None
    assert not os.get_inheritable(pidfd)
    assert send_signal(pidfd, signal.SIGTERM)
    assert child.wait(5) == -signal.SIGTERM
    assert not send_signal(pidfd, signal.SIGTERM)
    os.close(pidfd)


def test_child_that_died_but_was_not_reaped_is_believed_and_stays_reapable(child):
    """A worker may be dead before its zygote's report is read."""
    probe = os.pidfd_open(child.pid)
    child.send_signal(signal.SIGKILL)
    select.select([probe], [], [], 5)
    os.close(probe)
    pidfd = open_child(child.pid)
    assert pidfd is not None
    os.close(pidfd)
    assert os.waitpid(child.pid, os.WNOHANG) == (child.pid, signal.SIGKILL)
    child.returncode = -signal.SIGKILL


def test_stranger_is_not_believed_and_leaves_no_descriptor():
    """A hostile zygote that names init must not make the master watch or signal it."""
    before = len(os.listdir("/proc/self/fd"))
    for pid in (1, os.getpid(), os.getppid()):
        assert open_child(pid) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_grandchild_is_not_believed():
    """Its parent reaps it, not we."""
    script = "sleep 60 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        grandchild = int(parent.stdout.readline())
        assert open_child(grandchild) is None
        os.kill(grandchild, signal.SIGKILL)


def test_reaped_child_is_not_believed():
    """The number is free for anybody by then."""
    process = subprocess.Popen(["true"])
    process.wait()
    assert open_child(process.pid) is None


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 5, 2**31 - 1, 2**31, 2**63, 10**30])
def test_number_that_is_no_pid_is_not_believed(pid):
    """What a message may hold must not raise here."""
    assert open_child(pid) is None
