"""stop, start-pool, restart, scale and trace; and what happens to a pool whose workers crash."""

import os
import signal
import threading
import time

import pytest
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import children_of, title_of

POOLS = """\
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 2

[pool:blog]
app = hello:app
listen = %(here)s/blog.sock
pm = static
pm.max_children = 1
"""


def kill_one(master, number):
    """End a ready worker by a signal, and wait until it is gone."""
    wait_until(lambda: master.pool_status("shop")["idle processes"] == 2)
    victim = master.worker_pids("shop")[0]
    os.kill(victim, number)
    wait_until(lambda: victim not in master.worker_pids("shop"))


@pytest.fixture
def master():
    with Pyfpm(POOLS) as running:
        wait_until(lambda: running.pool_status("shop")["total processes"] == 2)
        yield running


def test_stopped_pool_is_gone_until_it_is_started(master):
    """Its workers, zygote and socket go; the others do not notice; status still knows it."""
    with master.client("shop.sock") as client:
        client.request("/pid", keep=True)
        assert master.command("stop", "shop").returncode == 0
    assert not (master.folder / "shop.sock").exists()
    assert master.zygote_pid("shop") == 0
    assert master.pool_status("shop")["state"] == "stopped"
    assert "stopped" in master.command("status").stdout
    with master.client("blog.sock") as client:
        assert client.request().complete
    done = master.command("restart", "shop")
    assert done.returncode == 1
    assert "start-pool shop" in done.stderr
    assert master.command("start-pool", "shop").returncode == 0
    with master.client("shop.sock") as client:
        assert client.request("/pid").complete
    assert master.command("start-pool", "shop").returncode == 1


def test_stopped_pool_is_not_reloaded_and_the_command_says_so(master):
    """Exit 0 would mean that its new generation serves."""
    assert master.command("stop", "shop").returncode == 0
    done = master.command("reload", "shop")
    assert done.returncode == 1
    assert "pool shop is stopped: `pyfpm start-pool shop` starts it" in done.stderr
    assert "stopped already" in master.command("stop", "shop").stderr
    assert master.command("reload").returncode == 0
    assert master.pool_status("shop")["state"] == "stopped"


def test_commands_leave_their_trace_in_the_log(master):
    """A pool that comes or goes should be no riddle to who reads it at three in the morning."""
    master.command("scale", "shop", 3)
    master.command("stop", "blog")
    master.command("start-pool", "blog")
    for words in ("scale shop 3", "stop blog", "start-pool blog"):
        master.log.wait_for(f"pyfpm {words}: asked for over the control socket")


def test_failed_reload_stands_in_the_status_until_one_succeeds(master):
    """Who reloads by a signal has no other place to look."""
    good = (master.app / "torture.py").read_text()
    (master.app / "torture.py").write_text("1 / 0\n")
    master.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the last reload failed" in master.pool_status("shop").get("reason", ""))
    assert "ZeroDivisionError" in master.pool_status("shop")["reason"]
    assert master.pool_status("shop")["state"] == "running"
    (master.app / "torture.py").write_text(good)
    assert master.command("reload").returncode == 0
    assert "reason" not in master.pool_status("shop")


def test_signals_that_mean_nothing_do_not_end_the_master(master):
    """Every one that the kernel would end it by, real-time ones included; each is logged."""
    for number in (*range(signal.SIGRTMIN, signal.SIGRTMAX + 1), signal.SIGALRM, signal.SIGIO):
        master.process.send_signal(number)
    master.log.wait_for("SIGALRM means nothing to the master: ignored")
    master.log.wait_for("SIGRTMAX means nothing to the master: ignored")
    with master.client("shop.sock") as client:
        assert client.request("/pid").complete


def test_stop_waits_for_the_running_request_and_stop_now_does_not(master):
    """As for the whole service."""
    for flag, whole in ((), True), (("--now",), False):
        with master.client("shop.sock") as client:
            answers = []
            thread = threading.Thread(
                target=lambda c=client, a=answers: a.append(c.request("/sleep?s=1"))
            )
            thread.start()
            wait_until(lambda: master.pool_status("shop")["active processes"] == 1)
            assert master.command("stop", "shop", *flag).returncode == 0
            thread.join()
            assert answers[0].complete is whole
        assert master.command("start-pool", "shop").returncode == 0


def test_pool_without_autostart_waits_for_its_command():
    """It has no socket, so that a web server fails over at once instead of waiting."""
    with Pyfpm(POOLS.replace("[pool:blog]", "[pool:blog]\nautostart = no")) as master:
        assert master.pool_status("blog")["state"] == "stopped"
        assert not (master.folder / "blog.sock").exists()
        assert master.command("start-pool", "blog").returncode == 0
        with master.client("blog.sock") as client:
            assert client.request().complete


def test_start_of_a_pool_that_does_not_boot_says_why(master):
    """With the traceback, and exit code 1; it is retried as at a start."""
    assert master.command("stop", "blog").returncode == 0
    good = (master.app / "hello.py").read_text()
    (master.app / "hello.py").write_text("1 / 0\n")
    done = master.command("start-pool", "blog")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    (master.app / "hello.py").write_text(good)
    wait_until(lambda: master.pool_status("blog")["state"] == "running")


def test_restart_gives_new_workers_of_the_same_generation(master):
    """The zygote stays; code on the disk is not looked at."""
    old, zygote = set(master.worker_pids("shop")), master.zygote_pid("shop")
    (master.app / "torture.py").write_text("1 / 0\n")
    assert master.command("restart", "shop").returncode == 0
    wait_until(lambda: not old & set(master.worker_pids("shop")))
    assert master.zygote_pid("shop") == zygote
    assert master.pool_status("shop")["generation"] == 1
    with master.client("shop.sock") as client:
        assert client.request("/pid").complete


def test_scale_changes_the_number_until_the_next_reload(master):
    """Up and down; a reload brings back what the file says."""
    assert master.command("scale", "shop", 5).returncode == 0
    wait_until(lambda: len(master.worker_pids("shop")) == 5)
    assert master.pool_status("shop")["max children"] == 5
    assert master.command("scale", "shop", 1).returncode == 0
    wait_until(lambda: len(master.worker_pids("shop")) == 1)
    master.control("reload")
    wait_until(lambda: len(master.worker_pids("shop")) == 2)
    done = master.command("scale", "shop", 100000)
    assert done.returncode == 1
    assert "stop and start the pool" in done.stderr


def test_trace_shows_what_workers_are_doing(master):
    """Every worker, or one; with the function and line of the application."""
    with master.client("shop.sock") as client:
        thread = threading.Thread(target=client.request, args=("/sleep?s=2",))
        thread.start()
        wait_until(lambda: master.pool_status("shop")["active processes"] == 1)
        done = master.command("trace", "shop")
        thread.join()
    assert done.returncode == 0
    assert "GET /sleep?s=2" in done.stdout
    assert "torture.py" in done.stdout
    pids = master.worker_pids("shop")
    assert all(f"pid {pid}" in done.stdout for pid in pids)
    one = master.command("trace", "shop", pids[0])
    assert f"pid {pids[0]}" in one.stdout
    assert f"pid {pids[1]}" not in one.stdout
    assert master.command("trace", "shop", 1).returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [("restart",), ("stop",), ("start-pool",), ("trace",), ("reload",)],
)
def test_unknown_pool_is_a_clear_answer(master, arguments):
    """The close match is named, nothing happens, and the service goes on."""
    before = master.worker_pids("shop")
    done = master.command(*arguments, "shopp")
    assert done.returncode != 0
    assert "no pool 'shopp'" in done.stderr
    assert "shop" in done.stderr
    assert master.worker_pids("shop") == before


def test_crashes_within_the_interval_give_the_pool_a_new_zygote():
    """Of this pool alone; a worker that was killed from outside is no crash."""
    main = "emergency_restart_threshold = 3\nemergency_restart_interval = 1m"
    with Pyfpm(POOLS, main=main) as master:
        wait_until(lambda: master.pool_status("shop")["total processes"] == 2)
        zygotes = {pool: master.zygote_pid(pool) for pool in ("shop", "blog")}
        for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS):
            kill_one(master, number)
        assert master.pool_status("shop")["generation"] == 1
        kill_one(master, signal.SIGABRT)
        master.log.wait_for("3 workers crashed within 60 s: the pool gets a new zygote")
        wait_until(lambda: master.pool_status("shop")["generation"] == 2)
        wait_until(lambda: master.zygote_pid("shop") not in (0, zygotes["shop"]))
        assert master.zygote_pid("blog") == zygotes["blog"]
        with master.client("shop.sock") as client:
            assert client.request("/pid").complete


def test_worker_that_dies_before_its_first_request_slows_its_pool_down():
    """It was ready, so its boot did not fail; but without a pause it would be a spin."""
    code = (
        "import os, threading\n"
        "from torture import app\n"
        "def die():\n"
        "    threading.Timer(0.05, os._exit, (9,)).start()\n"
        "os.register_at_fork(after_in_child=die)\n"
    )
    pools = POOLS.replace("torture:app", "dying:app")
    with Pyfpm(pools, files={"dying.py": code}, wait_ready=False) as master:
        master.log.wait_for("before it had served a request", timeout_s=20)
        wait_until(lambda: master.pool_status("shop")["state"] == "degraded")
        mark = master.log.mark()
        time.sleep(3)
        assert len(master.log.find("child .* exited with code 9", since=mark)) < 20
        with master.client("blog.sock") as client:
            assert client.request().complete


def test_killed_zygote_is_replaced_and_no_request_lost(master):
    """Workers serve on without it; the next one imports anew."""
    old = master.zygote_pid("shop")
    failures, stop = [], threading.Event()

    def post():
        with master.client("shop.sock") as client:
            while not stop.is_set():
                answer = client.request("/echo", method="POST", body=b"abc", keep=True)
                if answer.body != b"abc":
                    failures.append(answer)

    poster = threading.Thread(target=post)
    poster.start()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: master.zygote_pid("shop") not in (0, old))
    stop.set()
    poster.join()
    assert not failures
    victim = master.worker_pids("shop")[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(set(master.worker_pids("shop")) - {victim}) == 2)
    names = [title_of(pid) for pid in children_of(master.process.pid)]
    assert sum("shop zygote" in name for name in names) == 1
