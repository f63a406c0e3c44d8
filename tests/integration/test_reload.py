"""Reloads as an operator sees them: new code, new configuration, and what must not change."""

import contextlib
import os
import signal
import stat
import threading
import time

import psutil
import pytest
from harness.fcgi_client import FcgiClient
from harness.machine import IS_ROOT, POOL_USER, free_port, wait_until
from harness.master import Pyfpm
from harness.posts import Posts
from harness.processes import children_of, title_of

APP = """\
import os
VERSION = {version!r}
def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [VERSION.encode()]
"""
POOL = """\
[pool:shop]
app = shop:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 4
"""
OTHER = """\
[pool:blog]
app = blog:app
listen = %(here)s/blog.sock
pm = static
pm.max_children = 1
"""


@contextlib.contextmanager
def shop(*, pools=POOL, version="one", **options):
    """A master whose static pool `shop` has all its four workers."""
    files = {"shop.py": APP.format(version=version), "blog.py": APP.format(version=version)}
    with Pyfpm(pools, files=files, **options) as master:
        if "static" in pools:
            wait_until(lambda: master.pool_status("shop")["total processes"] == 4)
        yield master


def deploy(master, version, module="shop"):
    (master.app / f"{module}.py").write_text(APP.format(version=version))


def reconfigure(master, old, new):
    text = master.config.read_text()
    assert old in text
    master.config.write_text(text.replace(old, new))


def ask(master, name="shop.sock"):
    with master.client(name) as client:
        return client.request().body.decode()


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


def test_broken_configuration_is_refused_and_nothing_changes():
    """The command names file and line; workers, code and limits are as before."""
    with shop() as master:
        pids = master.worker_pids("shop")
        deploy(master, "two")
        reconfigure(master, "pm.max_children = 4", "pm.max_children = four")
        line = master.config.read_text().splitlines().index("pm.max_children = four") + 1
        done = master.command("reload")
        assert done.returncode == 1
        assert f"pyfpm.conf:{line}: [pool:shop] pm.max_children" in done.stderr
        assert ask(master) == "one"
        assert master.worker_pids("shop") == pids


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
            # Workers of the old generation import what is there now, so new code must be good.
            deploy(master, "three")
            wait_until(lambda: {p["generation"] for p in processes(master)} == {1})
        assert load.failures == []
        assert master.pool_status("shop")["generation"] == 1


def processes(master, pool="shop"):
    return master.pool_status(pool, full=True)["processes"]


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
        for _ in range(3):
            master.control("reload")
        stop.set()
        watcher.join()
        assert max(counts) <= 6
        assert len(idle) > 20
        assert min(idle) >= 4


def test_only_the_named_pool_is_touched():
    """Neither the processes nor the options of the others change."""
    with shop(pools=POOL + OTHER) as master:
        blog = (master.worker_pids("blog"), master.zygote_pid("blog"))
        reconfigure(master, "pm = static\npm.max_children = 1", "pm = static\npm.max_children = 3")
        deploy(master, "two")
        deploy(master, "two", module="blog")
        done = master.command("reload", "shop")
        assert done.returncode == 0
        assert "generation 2 serves" in done.stdout
        assert (ask(master), ask(master, "blog.sock")) == ("two", "one")
        assert (master.worker_pids("blog"), master.zygote_pid("blog")) == blog
        master.control("reload")
        wait_until(lambda: len(master.worker_pids("blog")) == 3)


def test_unknown_pool_is_refused_with_those_that_there_are():
    """A typing error reloads nothing."""
    with shop() as master:
        done = master.command("reload", "shopp")
        assert done.returncode != 0
        assert "no pool 'shopp'" in done.stderr
        assert "shop" in done.stderr
        assert master.pool_status("shop")["generation"] == 1


def test_new_pools_start_and_removed_ones_end():
    """With their sockets and processes."""
    with shop() as master:
        socket = master.folder / "shop.sock"
        inode = socket.stat().st_ino
        master.config.write_text(master.config.read_text() + OTHER)
        done = master.control("reload")
        assert set(done["pools"]) == {"shop", "blog"}
        assert ask(master, "blog.sock") == "one"
        assert socket.stat().st_ino == inode
        reconfigure(master, OTHER, "")
        master.control("reload")
        assert set(master.status()["pools"]) == {"shop"}
        assert not (master.folder / "blog.sock").exists()
        assert ask(master) == "one"
        assert master.zygote_pid("blog") == 0


def test_new_pool_that_does_not_boot_fails_the_reload_and_is_retried():
    """As at a start: there is no old generation that could serve instead."""
    with shop() as master:
        (master.app / "blog.py").write_text("1 / 0\n")
        master.config.write_text(master.config.read_text() + OTHER)
        done = master.command("reload")
        assert done.returncode == 1
        assert "ZeroDivisionError" in done.stderr
        assert master.pool_status("blog")["state"] == "degraded"
        assert master.pool_status("shop")["generation"] == 2
        deploy(master, "two", module="blog")
        wait_until(lambda: master.pool_status("blog")["state"] == "running")


def test_renamed_pool_keeps_its_listener_open():
    """The new one takes it over, so no connection is refused in between."""
    with shop() as master:
        inode = (master.folder / "shop.sock").stat().st_ino
        with Posts(master.address("shop.sock"), keep=False) as load:
            reconfigure(master, "[pool:shop]", "[pool:store]")
            master.control("reload")
            assert set(master.status()["pools"]) == {"store"}
        assert load.failures == []
        assert (master.folder / "shop.sock").stat().st_ino == inode


def test_listener_is_kept_and_its_mode_applied():
    """A web server that is connecting at that moment must not notice anything but the mode."""
    with shop() as master:
        socket = master.folder / "shop.sock"
        inode = socket.stat().st_ino
        reconfigure(master, "pm = static", "pm = static\nlisten.mode = 0606")
        if IS_ROOT:
            reconfigure(master, "listen.mode = 0606", "listen.mode = 0606\nlisten.owner = nobody")
        with Posts(master.address("shop.sock"), keep=False) as load:
            master.control("reload")
        found = socket.stat()
        assert stat.S_IMODE(found.st_mode) == 0o606
        assert found.st_ino == inode
        assert load.failures == []
        if IS_ROOT:
            assert found.st_uid == 65534


def test_changed_address_opens_the_new_and_closes_the_old():
    """Requests that are under way at the old one are still answered."""
    with shop() as master, master.client("shop.sock") as kept:
        kept.request(keep=True)
        reconfigure(master, "shop.sock", "store.sock")
        deploy(master, "two")
        master.control("reload")
        assert kept.request(keep=True).complete
        assert ask(master, "store.sock") == "two"
        assert not (master.folder / "shop.sock").exists()


def test_address_in_use_is_refused_and_nothing_changes():
    """The new listeners are opened before anything else happens."""
    with shop(pools=POOL + OTHER) as master:
        (master.folder / "taken.sock").write_text("a file of somebody else")
        reconfigure(master, "/blog.sock", "/taken.sock")
        done = master.command("reload", "blog")
        assert done.returncode == 1
        assert "taken.sock" in done.stderr
        assert ask(master, "blog.sock") == "one"
        (master.folder / "taken.sock").unlink()


def refuses(port):
    try:
        FcgiClient(f"127.0.0.1:{port}").close()
    except ConnectionRefusedError:
        return True
    return False


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


def test_changed_number_of_workers_is_applied():
    """More and fewer, and another process manager; without restarting anything twice."""
    with shop() as master:
        reconfigure(master, "pm.max_children = 4", "pm.max_children = 2")
        master.control("reload")
        wait_until(lambda: len(master.worker_pids("shop")) == 2)
        reconfigure(master, "pm.max_children = 2", "pm.max_children = 6")
        master.control("reload")
        wait_until(lambda: len(master.worker_pids("shop")) == 6)
        reconfigure(master, "pm = static", "pm = ondemand\npm.process_idle_timeout = 100ms")
        master.control("reload")
        wait_until(lambda: len(master.worker_pids("shop")) == 0)
        assert ask(master) == "one"


def test_more_workers_than_the_scoreboard_holds_are_refused():
    """The scoreboard outlives reloads; a pool that is stopped and started has a new one."""
    with shop() as master:
        reconfigure(master, "pm.max_children = 4", "pm.max_children = 3000")
        reconfigure(master, "pm = static", "pm = ondemand")
        done = master.command("reload")
        assert done.returncode == 1
        assert "stop and start the pool" in done.stderr
        assert master.command("stop", "shop").returncode == 0
        assert master.command("reload").returncode == 0
        assert master.command("start-pool", "shop").returncode == 0
        assert master.pool_status("shop")["max children"] == 3000


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


@pytest.mark.skipif(not IS_ROOT, reason="only root can change the user of a pool")
def test_changed_user_gets_a_channel_of_its_own():
    """Workers of another user take no connection over; those that there are go on being served."""
    with shop() as master, master.client("shop.sock") as kept:
        kept.request(keep=True)
        reconfigure(
            master, "pm = static", "pm = static\nuser = nobody\nlisten.group = " + POOL_USER
        )
        deploy(master, "two")
        master.control("reload")
        assert ask(master) == "two"
        assert kept.request(method="POST", body=b"x", keep=True).body == b"one"
        users = {psutil.Process(p["pid"]).username() for p in processes(master)}
        assert users == {"nobody", POOL_USER}
        kept.close()
        wait_until(lambda: {p["generation"] for p in processes(master)} == {2})


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


def test_changes_of_the_master_are_applied_or_named():
    """Access to the control socket and the error log change at once; the pid file needs a start."""
    with shop() as master:
        log = master.folder / "new.log"
        more = "control.mode = 0640\nerror_log = new.log\npid = other.pid"
        reconfigure(master, "pid = pyfpm.pid", more)
        done = master.command("reload")
        assert done.returncode == 0
        assert (
            "[pyfpm] pid: changed, and takes effect when the master is started anew" in done.stderr
        )
        assert stat.S_IMODE((master.folder / "control.sock").stat().st_mode) == 0o640
        assert "reload complete" in log.read_text()
        assert not (master.folder / "other.pid").exists()


def test_log_that_cannot_be_opened_fails_the_reload():
    """Nothing has changed then, neither for the pools nor for the log."""
    with shop() as master:
        reconfigure(master, "pid = pyfpm.pid", "pid = pyfpm.pid\nerror_log = link.log")
        (master.folder / "link.log").symlink_to("elsewhere")
        done = master.command("reload")
        assert done.returncode == 1
        assert "symbolic link" in done.stderr
        assert master.pool_status("shop")["generation"] == 1
        assert master.log.find("reload failed")


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


def test_removed_tcp_address_is_refused_while_a_worker_still_drains():
    """Nobody would answer there, so nobody should be able to connect."""
    port = free_port()
    pools = POOL.replace("shop:app", "torture:app").replace(
        "shop.sock", f"shop.sock, 127.0.0.1:{port}"
    )
    with shop(pools=pools) as master, master.client("shop.sock") as slow:
        thread = threading.Thread(target=slow.request, args=("/sleep?s=3",))
        thread.start()
        wait_until(lambda: any(p["state"] == "Running" for p in processes(master)))
        reconfigure(master, f", 127.0.0.1:{port}", "")
        assert master.command("reload").returncode == 0
        thread.join()
        wait_until(lambda: refuses(port))
