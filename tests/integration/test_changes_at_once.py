"""Reloads, stops, restarts, crashes and upgrades that meet each other."""

import contextlib
import os
import signal
import stat
import threading
import time

import psutil
import pytest
from harness.machine import IS_ROOT, wait_until
from harness.master import Pyfpm, reconfigure
from harness.processes import children_of, cpu_time_s, title_of

from pyfpm.control import ControlClient
from pyfpm.errors import ControlError

APP = """\
import os, time
time.sleep(float(os.environ.get("IMPORT_S", "0")))
def app(environ, start_response):
    environ["wsgi.input"].read()
    if environ["QUERY_STRING"].startswith("sleep="):
        time.sleep(float(environ["QUERY_STRING"][6:]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get("MARK", "none").encode()]
"""


def pool(name, *lines, count=1, app="shop:app"):
    more = "\n".join(lines)
    return (
        f"[pool:{name}]\napp = {app}\nlisten = %(here)s/{name}.sock\n"
        f"pm = static\npm.max_children = {count}\n{more}\n"
    )


def start(*pools, **options):
    files = {"shop.py": APP, **options.pop("files", {})}
    return Pyfpm("\n".join(pools), files=files, **options)


def ask(master, name, query=""):
    with master.client(name) as client:
        return client.request(f"/?{query}").body.decode()


class Background(threading.Thread):
    """Calls a function; keeps what it returned or raised."""

    def __init__(self, function, *arguments, **named):
        super().__init__(daemon=True)
        self.function = lambda: function(*arguments, **named)
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self.function()
        except (ControlError, OSError, AssertionError) as error:  # kept for the test
            self.error = error


def control(master, command, **arguments):
    return Background(
        ControlClient(str(master.folder / "control.sock"), timeout_s=60).call, command, **arguments
    )


def is_busy(master, name):
    return wait_until(lambda: master.pool_status(name)["active processes"] >= 1)


def test_stop_of_a_pool_while_the_service_ends_does_not_break_the_end():
    """An impatient `stop POOL` after a TERM: the other pools still get their time, exit code 0."""
    with start(pool("shop"), pool("blog")) as master:
        requests = [
            Background(ask, master, "shop.sock", "sleep=2"),
            Background(ask, master, "blog.sock", "sleep=5"),
        ]
        is_busy(master, "shop")
        is_busy(master, "blog")
        master.process.send_signal(signal.SIGTERM)
        wait_until(lambda: master.status()["pyfpm"]["state"] == "stopping")
        stopping = control(master, "stop", pools=["shop"])
        for request in requests:
            request.join(10)
        stopping.join(10)
        assert master.process.wait(20) == 0
        assert [request.result for request in requests] == ["none", "none"]


def test_stop_now_hurries_a_stop_that_waits():
    """Both commands succeed; the pool is closed once."""
    with start(pool("shop"), pool("blog")) as master:
        request = Background(ask, master, "shop.sock", "sleep=8")
        is_busy(master, "shop")
        first = control(master, "stop", pools=["shop"])
        wait_until(lambda: master.pool_status("shop")["state"] == "stopping")
        second = control(master, "stop", pools=["shop"], now=True)
        second.join(10)
        first.join(10)
        request.join(10)
        assert (first.error, second.error) == (None, None)
        assert master.pool_status("shop")["state"] == "stopped"
        master.control("start-pool", pools=["shop"])
        assert ask(master, "shop.sock") == "none"


def test_pool_stopped_while_it_waits_for_its_reload_harms_nobody():
    """The others are reloaded, and the reload is over when the command says so."""
    slow = "environment = IMPORT_S=2"
    names = ["a", "b", "c", "d", "e"]
    with start(*(pool(name, slow) for name in names)) as master:
        reloading = control(master, "reload")
        wait_until(lambda: master.status()["pyfpm"]["state"] == "reloading")
        master.control("stop", pools=["e"])
        reloading.join(30)
        state = master.pool_status("a")["state"]
        assert "KeyError" not in str(reloading.error)
        assert state == "running"
        assert {master.pool_status(name)["generation"] for name in names[:4]} == {2}


def test_renamed_pool_that_does_not_boot_at_first_keeps_its_listener():
    """It is retried, and serves at the address that it took over as soon as it boots."""
    with start(pool("shop")) as master:
        (master.app / "shop.py").write_text("1 / 0\n")
        reconfigure(master, "[pool:shop]", "[pool:store]")
        assert master.command("reload").returncode == 1
        (master.app / "shop.py").write_text(APP)
        wait_until(lambda: master.pool_status("store")["state"] == "running", timeout_s=10)
        assert ask(master, "shop.sock") == "none"


def test_renamed_pool_applies_the_mode_to_the_listener_that_it_takes_over():
    """As any other reload does with a listener whose address stays."""
    with start(pool("shop", "listen.mode = 0666")) as master:
        reconfigure(master, "[pool:shop]", "[pool:store]")
        reconfigure(master, "listen.mode = 0666", "listen.mode = 0600")
        master.control("reload")
        assert stat.S_IMODE((master.folder / "shop.sock").stat().st_mode) == 0o600


def test_crash_during_a_reload_does_not_bring_the_old_configuration_back():
    """The emergency restart that waits for the reload starts what is configured by then."""
    main = "emergency_restart_threshold = 1\nemergency_restart_interval = 60"
    with start(pool("shop", "environment = MARK=old", count=2), main=main) as master:
        first = master.worker_pids("shop")[0]
        time.sleep(5.2)  # a younger one would count as a boot that failed
        reconfigure(master, "environment = MARK=old", "environment = MARK=new,IMPORT_S=2")
        reloading = control(master, "reload")
        wait_until(lambda: master.status()["pyfpm"]["state"] == "reloading")
        os.kill(first, signal.SIGSEGV)
        reloading.join(20)
        assert reloading.error is None
        with contextlib.suppress(AssertionError):
            wait_until(lambda: master.pool_status("shop")["generation"] == 3, timeout_s=10)
            wait_until(lambda: master.pool_status("shop")["state"] == "running")
        assert ask(master, "shop.sock") == "new"


def test_pool_whose_zygote_boots_again_is_no_longer_degraded():
    """Its workers have served all the time, and there is nothing to spawn that could prove it."""
    with start(pool("shop", count=2)) as master:
        wait_until(lambda: len(master.worker_pids("shop")) == 2)
        (master.app / "shop.py").write_text("1 / 0\n")
        os.kill(master.zygote_pid("shop"), signal.SIGKILL)
        wait_until(lambda: master.pool_status("shop")["state"] == "degraded")
        (master.app / "shop.py").write_text(APP)
        wait_until(lambda: master.pool_status("shop")["state"] == "running", timeout_s=15)


def test_mistyped_name_does_not_take_a_waiting_reload_with_it():
    """Whoever asks for an unknown pool is refused alone; the signal's reload takes place."""
    with start(pool("shop", "environment = MARK=one,IMPORT_S=1")) as master:
        first = control(master, "reload")
        wait_until(lambda: master.status()["pyfpm"]["state"] == "reloading")
        reconfigure(master, "MARK=one", "MARK=two")
        second = control(master, "reload")
        wrong = control(master, "reload", pools=["shopp"])
        for one in (first, second, wrong):
            one.join(20)
        assert isinstance(wrong.error, ControlError)
        assert second.error is None
        assert ask(master, "shop.sock") == "two"


def test_trials_of_several_pools_stay_within_process_max():
    """process.max counts all workers over all pools, also while four pools are tried at once."""
    names = ["a", "b", "c", "d"]
    with start(
        *(pool(name, "environment = IMPORT_S=0.5") for name in names), main="process.max = 5"
    ) as master:
        counts = []
        done = threading.Event()

        def count():
            while not done.is_set():
                titles = [title_of(pid) for pid in children_of(master.process.pid)]
                counts.append(sum(" worker " in title for title in titles))

        watcher = Background(count)
        with contextlib.suppress(ControlError):
            master.control("reload")
        done.set()
        watcher.join()
        assert max(counts) <= 5


def test_service_is_ready_when_the_only_pool_that_still_boots_is_stopped():
    """Nobody waits for a pool that is not to come."""
    pools = (pool("slow", "environment = IMPORT_S=8"), pool("shop"))
    with start(*pools, wait_ready=False) as master:
        wait_until((master.folder / "control.sock").exists)
        wait_until(lambda: master.pool_status("shop")["state"] == "running")
        master.control("stop", pools=["slow"], now=True)
        wait_until(lambda: master.status()["pyfpm"]["state"] == "running", timeout_s=10)


def test_zygote_whose_exit_handler_hangs_is_gone_after_a_reload():
    """Each reload would leave a process and a generation behind otherwise."""
    code = (
        "import atexit, os, time\nZYGOTE = os.getpid()\n"
        "atexit.register(lambda: os.getpid() == ZYGOTE and time.sleep(60))\n"
    )
    with start(pool("shop"), files={"shop.py": code + APP}) as master:
        old = master.zygote_pid("shop")
        master.control("reload")
        wait_until(lambda: not psutil.pid_exists(old), timeout_s=10)


def test_two_start_commands_for_the_same_pool_are_both_answered_clearly():
    """The one that comes late is told that the pool runs, and is no internal error."""
    slow = pool("a", "autostart = no", "environment = IMPORT_S=2")
    with start(slow, pool("b", "autostart = no"), pool("shop")) as master:
        first = control(master, "start-pool", pools=["a", "b"])
        wait_until(lambda: master.pool_status("a")["state"] == "starting")
        second = control(master, "start-pool", pools=["b"])
        first.join(15)
        second.join(15)
        for one in (first, second):
            assert "KeyError" not in str(one.error)


def test_upgrade_that_waits_for_a_stopping_pool_does_not_spin():
    """The master has better things to do with a core while somebody's request ends."""
    with start(pool("shop"), pool("blog")) as master:
        request = Background(ask, master, "shop.sock", "sleep=4")
        is_busy(master, "shop")
        stopping = control(master, "stop", pools=["shop"])
        wait_until(lambda: master.pool_status("shop")["state"] == "stopping")
        upgrading = control(master, "upgrade")
        time.sleep(0.3)
        used_s = cpu_time_s(master.process.pid, 2)
        for one in (request, stopping, upgrading):
            one.join(30)
        assert used_s < 0.5


def test_restart_without_room_says_so():
    """As a reload does; a command that waits for ever keeps every later reload from its turn."""
    with start(pool("shop", count=2), main="process.max = 2") as master:
        wait_until(lambda: len(master.worker_pids("shop")) == 2)
        restarting = control(master, "restart", pool="shop")
        restarting.join(8)
        assert not restarting.is_alive()


def test_rolled_back_generation_gets_its_listener_back_as_it_was():
    """With owner and mode: else it serves on, and the web server cannot reach it any more."""
    lucky = (
        "import os\n"
        "marker = os.path.join(os.path.dirname(__file__), 'booted')\n"
        "os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))\n"
    )
    with start(
        pool("shop", "listen.mode = 0666", count=3),
        defaults="preload = off",
        prepare=lambda folder: (folder / "app").chmod(0o777),
    ) as master:
        # Each worker imports the file for itself: one of the old generation that has not yet
        # would be the one that finds no marker.
        wait_until(lambda: master.pool_status("shop")["idle processes"] == 3)
        (master.app / "shop.py").write_text(lucky + APP)
        reconfigure(master, "listen.mode = 0666", "listen.mode = 0600")
        done = master.command("reload")
        (master.app / "shop.py").write_text(APP)
        assert done.returncode == 1
        assert "rolling back" in done.stderr
        assert master.pool_status("shop")["generation"] == 1
        assert stat.S_IMODE((master.folder / "shop.sock").stat().st_mode) == 0o666


def test_address_of_a_removed_pool_moves_to_one_that_stays():
    """In one reload, as it does to a new pool; at the least nobody loses it meanwhile."""
    with start(pool("shop"), pool("blog")) as master:
        reconfigure(master, pool("blog"), "")
        reconfigure(
            master, "listen = %(here)s/shop.sock", "listen = %(here)s/shop.sock %(here)s/blog.sock"
        )
        done = master.command("reload")
        assert ask(master, "blog.sock") == "none", done.stderr
        assert done.returncode == 0


def test_listener_that_an_older_generation_had_is_not_taken_over_by_a_renamed_pool():
    """It is closed since the address changed; the new pool has to open it again."""
    with start(pool("shop")) as master:
        request = Background(ask, master, "shop.sock", "sleep=6")
        is_busy(master, "shop")
        reconfigure(master, "/shop.sock", "/other.sock")
        master.control("reload")
        reconfigure(master, "/other.sock", "/shop.sock")
        reconfigure(master, "[pool:shop]", "[pool:store]")
        done = control(master, "reload")
        wait_until(lambda: "store" in master.status()["pools"])
        with contextlib.suppress(AssertionError):
            done.join(8)
        assert done.error is None
        assert ask(master, "shop.sock") == "none"
        request.join(10)


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a pool another user")
def test_worker_that_drains_already_keeps_its_connection_when_the_user_changes():
    """What it would hand over by then goes into a channel that nobody reads any more."""
    defaults = "user = www-data\nlisten.mode = 0666"
    with start(pool("shop"), defaults=defaults) as master, master.client("shop.sock") as client:
        request = Background(client.request, "/?sleep=3", keep=True)
        is_busy(master, "shop")
        master.control("reload")
        reconfigure(master, "user = www-data", "user = nobody")
        master.control("reload")
        request.join(10)
        assert request.result.complete
        time.sleep(0.5)
        assert client.request("/", method="POST", body=b"x", keep=True).complete


def test_workers_that_crash_together_cost_one_emergency_restart():
    """Those that die before it has replaced them are no reason for another one after it."""
    main = "emergency_restart_threshold = 1\nemergency_restart_interval = 60"
    with start(pool("shop", "environment = IMPORT_S=1", count=4), main=main) as master:
        wait_until(lambda: len(master.worker_pids("shop")) == 4)
        time.sleep(5.2)  # younger ones would count as boots that failed
        for pid in master.worker_pids("shop"):
            os.kill(pid, signal.SIGSEGV)
        wait_until(lambda: master.pool_status("shop")["generation"] >= 2)
        time.sleep(5)
        assert master.pool_status("shop")["generation"] == 2


def test_emergency_restart_leaves_the_number_of_workers_that_was_scaled_to():
    """`scale` holds until the next reload, and nobody asked for one."""
    main = "emergency_restart_threshold = 1\nemergency_restart_interval = 60"
    with start(pool("shop", count=2), main=main) as master:
        master.control("scale", pool="shop", workers=4)
        wait_until(lambda: len(master.worker_pids("shop")) == 4)
        time.sleep(5.2)
        os.kill(master.worker_pids("shop")[0], signal.SIGSEGV)
        wait_until(lambda: master.pool_status("shop")["generation"] == 2)
        time.sleep(1)
        assert master.pool_status("shop")["max children"] == 4
