"""Reloads with new code: it serves and no request is lost, or the old generation goes on."""

import os
import signal
import threading
import time

import pytest
from harness.machine import wait_until
from harness.master import Pyfpm, reconfigure
from harness.posts import Posts
from harness.processes import children_of, title_of
from harness.shop import APP, OTHER, POOL, ask, deploy, processes, shop


def test_new_code_serves_and_no_request_is_lost():
    """Kept and closed connections, ten generations, and at the end nobody answers with old code."""
    with shop() as master:
        address = master.address("shop.sock")
        with (
            Posts(address) as kept,
            Posts(address) as more,
            Posts(address, keep=False) as closed,
        ):
            for number in range(10):
                deploy(master, f"v{number}")
                done = master.control("reload")
                assert done["pools"]["shop"]["generation"] == number + 2
                assert ask(master) == f"v{number}"
        for load in (kept, more, closed):
            assert load.failures == []
            assert load.count > 10
        status = master.wait_accepted("shop", sum(load.count for load in (kept, more, closed)))
        assert status["generation"] == 11
        assert status["reloads"] == 10


def test_every_worker_is_a_new_one_and_the_zygote_too():
    """What is left of the old generation would serve old code for ever."""
    with shop() as master:
        old = {*master.worker_pids("shop"), master.zygote_pid("shop")}
        master.control("reload", pools=["shop"])
        wait_until(lambda: not old & {*master.worker_pids("shop"), master.zygote_pid("shop")})
        assert len(master.worker_pids("shop")) == 4


@pytest.mark.parametrize(
    ("code", "defaults", "said"),
    [
        ("import nowhere_to_be_found\n", "", "ModuleNotFoundError"),
        ("app = 1 / 0\n", "", "ZeroDivisionError"),
        ("def app(:\n", "", "SyntaxError"),
        ("app = 1 / 0\n", "preload = off", "ZeroDivisionError"),
        ("import time\ntime.sleep(600)\n", "boot_timeout = 1s", "boot_timeout (1 s)"),
        (
            "import time\ntime.sleep(600)\n",
            "boot_timeout = 1s\npreload = off",
            "boot_timeout (1 s)",
        ),
        ("import os\nos._exit(3)\n", "", "exited with code 3"),
    ],
)
def test_application_that_does_not_boot_leaves_the_old_generation(code, defaults, said):
    """The command fails in bounded time and says why; the old workers have not even noticed."""
    with shop(defaults=defaults) as master:
        pids = master.worker_pids("shop")
        (master.app / "shop.py").write_text(code)
        with Posts(master.address("shop.sock")) as load:
            done = master.command("reload", "shop")
        assert done.returncode == 1
        assert said in done.stderr
        assert load.failures == []
        assert set(load.answers) == {b"one"}
        status = master.pool_status("shop")
        assert (status["state"], status["generation"], status["reloads"]) == ("running", 1, 0)
        assert master.worker_pids("shop") == pids
        wait_until(lambda: len(children_of(master.process.pid)) == 5)
        deploy(master, "two")
        assert master.command("reload", "shop").returncode == 0
        assert ask(master) == "two"


def test_import_that_leaves_a_thread_is_reloaded_without_preload():
    """The second zygote of the new generation does without, as at a start."""
    with shop() as master:
        code = (
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()\n"
        )
        (master.app / "shop.py").write_text(code + APP.format(version="two"))
        master.control("reload")
        assert ask(master) == "two"
        assert "themselves" in master.pool_status("shop")["reason"]


def test_generation_whose_later_workers_fail_is_rolled_back():
    """The first worker boots, the others do not: the old generation becomes the current one."""
    lucky = (
        "import os\n"
        "marker = os.path.join(os.path.dirname(__file__), 'booted')\n"
        "os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))\n"
    )
    with shop(
        defaults="preload = off", prepare=lambda folder: (folder / "app").chmod(0o777)
    ) as master:
        (master.app / "shop.py").write_text(lucky + APP.format(version="two"))
        with Posts(master.address("shop.sock")) as load:
            done = master.command("reload")
            assert done.returncode == 1
            assert "FileExistsError" in done.stderr
            assert "rolling back" in done.stderr
            assert master.log.find(r"ERROR: .*rolling back to generation 1")
            # Workers of the old generation import what is there now, so new code must be good.
            deploy(master, "three")
            wait_until(lambda: {p["generation"] for p in processes(master)} == {1})
        assert load.failures == []
        assert master.pool_status("shop")["generation"] == 1


def test_surge_bounds_the_processes_and_capacity_never_dips():
    """Never more than pm.max_children + pm.reload_surge workers, never fewer idle than before.

    Who is idle comes from the scoreboard: a new worker is idle there before the master hears of it,
    and only then is an old one told to drain. A list of processes would be read piece by piece.
    """
    with shop(defaults="pm.reload_surge = 2") as master:
        counts, idle = [], []
        stop = threading.Event()

        def count():
            while not stop.is_set():
                names = [title_of(pid) for pid in children_of(master.process.pid)]
                counts.append(sum("worker" in name for name in names))
                idle.append(master.pool_status("shop")["idle processes"])

        watcher = threading.Thread(target=count)
        watcher.start()
        reloads = 0
        while reloads < 3 or (len(idle) <= 20 and watcher.is_alive()):
            master.control("reload")
            reloads += 1
        stop.set()
        watcher.join()
        assert max(counts) <= 6
        assert len(idle) > 20
        assert min(idle) >= 4


def test_storm_of_reloads_ends_in_the_last_configuration():
    """Twenty signals and ten commands at once: those that wait are joined, nothing is lost."""
    with shop() as master:
        with Posts(master.address("shop.sock")) as load:
            commands = [
                threading.Thread(target=master.control, args=("reload",), daemon=True)
                for _ in range(10)
            ]
            for number, command in enumerate(commands):
                deploy(master, f"v{number}")
                command.start()
                for _ in range(2):
                    master.process.send_signal(signal.SIGHUP)
                time.sleep(0.01 * number)
            for command in commands:
                command.join(30)
            wait_until(lambda: master.status()["pyfpm"]["state"] == "running")
        assert load.failures == []
        assert ask(master) == "v9"
        assert master.pool_status("shop")["generation"] <= 22


def test_no_room_for_a_trial_is_said():
    """process.max counts the worker of the trial too."""
    with shop(main="process.max = 4") as master:
        done = master.command("reload")
        assert done.returncode == 1
        assert "process.max" in done.stderr
        assert ask(master) == "one"


def test_ondemand_pool_at_zero_with_parked_connections_is_reloaded():
    """Connections that the master keeps for it are served by the new generation."""
    lines = "pm = ondemand\npm.process_idle_timeout = 100ms"
    pools = POOL.replace("pm = static", lines)
    with shop(pools=pools) as master, master.client("shop.sock") as kept:
        kept.request(keep=True)
        wait_until(lambda: not master.worker_pids("shop"))
        assert master.pool_status("shop")["parked connections"] == 1
        deploy(master, "two")
        master.control("reload")
        wait_until(lambda: not master.worker_pids("shop"))
        assert kept.request(method="POST", body=b"x", keep=True).body == b"two"


def test_long_request_drains_while_the_new_generation_serves():
    """The command ends without waiting for it, and says that it still drains."""
    pools = POOL.replace("shop:app", "torture:app")
    with shop(pools=pools) as master, master.client("shop.sock") as slow:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(slow.request("/sleep?s=3")))
        thread.start()
        wait_until(lambda: any(p["state"] == "Running" for p in processes(master)))
        done = master.command("reload")
        assert done.returncode == 0
        assert "/sleep" in done.stdout
        assert not answers
        thread.join()
        assert answers[0].complete


def test_reload_during_a_stop_ends_with_an_answer():
    """The pool goes away under the reload; nothing hangs and nothing is left."""
    with shop(defaults="boot_timeout = 20s") as master:
        (master.app / "shop.py").write_text("import time\ntime.sleep(600)\n")
        caught = []

        def reload():
            caught.append(master.command("reload"))

        thread = threading.Thread(target=reload)
        thread.start()
        wait_until(lambda: master.status()["pyfpm"]["state"] == "reloading")
        master.stop()
        thread.join(20)
        assert caught[0].returncode != 0


def test_dead_zygote_of_the_trial_fails_the_reload():
    """Killed from outside at any moment: the old generation serves on."""
    for delay_s in (0.0, 0.05, 0.1, 0.2):
        with shop() as master:
            old = master.zygote_pid("shop")
            thread = threading.Thread(target=master.command, args=("reload",))
            thread.start()
            title = "pyfpm: pool shop zygote"
            time.sleep(delay_s)
            for pid in children_of(master.process.pid):
                if pid != old and title_of(pid) == title:
                    os.kill(pid, signal.SIGKILL)
            thread.join()
            assert ask(master) == "one"
            assert master.pool_status("shop")["state"] == "running"


def test_degraded_pool_is_reloaded_into_health():
    """The retries of the broken generation go on meanwhile, and say nothing of the new one."""
    slow = "import time\ntime.sleep(2)\n" + APP.format(version="two")
    files = {"shop.py": "1 / 0\n", "blog.py": APP.format(version="one")}
    with Pyfpm(POOL + OTHER, files=files) as master:
        wait_until(lambda: master.pool_status("shop")["state"] == "degraded")
        (master.app / "new.py").write_text(slow)
        reconfigure(master, "shop:app", "new:app")
        done = master.command("reload", "shop")
        assert done.returncode == 0, done.stderr
        assert ask(master) == "two"
        assert master.pool_status("shop")["state"] == "running"
