"""The reaper, in a process of its own: it takes every death of its process."""

import os
import resource
import select
import signal

from forked import run_in_child

from pyfpm.kernel.prctl import set_child_subreaper
from pyfpm.master import reaper as reaper_module
from pyfpm.master.reaper import Death, Reaper


def fork_and_end(*, code=0, signum=None):
    """Make a child that has ended and waits to be reaped."""
    pid = os.fork()
    if pid == 0:
        if signum is not None:
            os.kill(os.getpid(), signum)
        os._exit(code)
    wait_for_end(pid)
    return pid


def wait_for_end(pid):
    pidfd = os.pidfd_open(pid)
    assert select.select([pidfd], [], [], 5)[0]
    os.close(pidfd)


def test_watched_deaths_are_told_once_with_how_they_happened():
    """Exit code or signal, and never both."""

    def check():
        reaper, deaths = Reaper(), []
        wanted = [
            (fork_and_end(code=0), Death(0, None)),
            (fork_and_end(code=71), Death(71, None)),
            (fork_and_end(signum=signal.SIGKILL), Death(None, signal.SIGKILL)),
            (fork_and_end(signum=signal.SIGTERM), Death(None, signal.SIGTERM)),
        ]
        for pid, _ in wanted:
            reaper.watch(pid, lambda death, pid=pid: deaths.append((pid, death)))
        reaper.reap()
        reaper.reap()
        assert sorted(deaths, key=str) == sorted(wanted, key=str)
        assert not any(reaper.knows(pid) for pid, _ in wanted)
        assert all(reaper.early_death(pid) is None for pid, _ in wanted)

    run_in_child(check)


def test_core_dump_is_a_death_by_signal():
    """QUIT, SEGV and ABRT may leave a core; that too is no exit code."""

    def check():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        reaper, deaths = Reaper(), []
        reaper.watch(fork_and_end(signum=signal.SIGQUIT), deaths.append)
        reaper.reap()
        assert deaths == [Death(None, signal.SIGQUIT)]

    run_in_child(check)


def test_death_before_its_report_is_kept_and_given_out_once():
    """A worker may die before its zygote's message is read."""

    def check():
        reaper = Reaper()
        pid = fork_and_end(code=3)
        reaper.reap()
        assert reaper.early_death(pid) == Death(3, None)
        assert reaper.early_death(pid) is None

    run_in_child(check)


def test_one_turn_reaps_a_bounded_number():
    """An application may leave dying processes behind as fast as they are reaped."""

    def check():
        reaper_module._REAPED_AT_ONCE = 3
        reaper, deaths = Reaper(), []
        for _ in range(5):
            reaper.watch(fork_and_end(code=0), deaths.append)
        assert reaper.reap()
        assert len(deaths) == 3
        assert not reaper.reap()
        assert len(deaths) == 5

    run_in_child(check)


def test_kept_death_is_told_to_its_own_user_only():
    """A zygote that guesses the pid must not take what another pool waits for."""

    def check():
        reaper = Reaper()
        pid = fork_and_end(code=3)
        reaper.reap()
        assert reaper.early_death(pid, os.getuid() + 1) is None
        assert reaper.early_death(pid, os.getuid()) == Death(3, None)

    run_in_child(check)


def test_strangers_of_one_user_do_not_push_out_those_of_another():
    """However many a worker leaves behind: the other pool's worker that died early is known."""
    reaper = Reaper()
    reaper.resume({"1": (0, None, 1001)})
    reaper.resume({str(pid): (0, None, 1002) for pid in range(2, 10_000)})
    assert reaper.early_death(1, 1001) == Death(0, None)
    assert len(reaper.save()) < 2000
    reaper.resume({"7": (0, 9)})  # as an older master has written it
    assert reaper.early_death(7, 1003) == Death(0, 9)


def test_kept_deaths_are_bounded_and_the_oldest_go_first():
    """A worker that forks and forgets must not fill the master's memory."""

    def check():
        reaper_module._KEPT_MOST = 3
        reaper = Reaper()
        pids = []
        for code in range(5):
            pids.append(fork_and_end(code=code))
            reaper.reap()
        assert [reaper.early_death(pid) for pid in pids] == [
            None,
            None,
            Death(2, None),
            Death(3, None),
            Death(4, None),
        ]

    run_in_child(check)


def test_living_children_are_not_waited_for():
    """Reaping happens in the master's only thread."""

    def check():
        pid = os.fork()
        if pid == 0:
            signal.pause()
        reaper, deaths = Reaper(), []
        reaper.watch(pid, deaths.append)
        reaper.reap()
        assert deaths == []
        assert reaper.knows(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        reaper.reap()
        assert deaths == [Death(None, signal.SIGKILL)]

    run_in_child(check)


def test_orphans_are_reaped_by_the_subreaper():
    """What applications leave behind becomes the master's, and must not stay as a zombie."""

    def check():
        set_child_subreaper()
        reader, writer = os.pipe()
        held, release = os.pipe()
        middle = os.fork()
        if middle == 0:
            orphan = os.fork()
            if orphan == 0:
                os.read(held, 1)
                os._exit(9)
            os.write(writer, orphan.to_bytes(4, "little"))
            os._exit(0)
        wait_for_end(middle)
        orphan = int.from_bytes(os.read(reader, 4), "little")
        reaper = Reaper()
        reaper.reap()
        os.write(release, b"x")
        wait_for_end(orphan)
        reaper.reap()
        assert reaper.early_death(orphan) == Death(9, None)
        assert not os.path.exists(f"/proc/{orphan}")

    run_in_child(check)


def test_watcher_may_watch_and_reap_again():
    """What a death sets off starts the next process."""

    def check():
        reaper, told = Reaper(), []
        second = fork_and_end(code=2)
        first = fork_and_end(code=1)

        def on_first(death):
            told.append(death.code)
            reaper.watch(second, lambda death: told.append(death.code))

        reaper.watch(first, on_first)
        reaper.reap()
        early = reaper.early_death(second)
        assert told == [1, 2] or (told == [1] and early == Death(2, None))

    run_in_child(check)


def test_no_children_at_all_is_no_error():
    """SIGCHLD may come late."""
    run_in_child(lambda: Reaper().reap())
