"""Reloads with a changed configuration: pools, listeners, users and the master's own keys."""

import stat
import threading

import psutil
import pytest
from harness.fcgi_client import FcgiClient
from harness.machine import IS_ROOT, POOL_USER, free_port, wait_until
from harness.master import reconfigure
from harness.posts import Posts
from harness.shop import OTHER, POOL, ask, deploy, processes, shop


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
