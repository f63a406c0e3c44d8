"""Somebody is in the way of one pool when a reload comes: it comes late, the others are reloaded.

Whoever holds the address of a pool harms this pool alone, and only for as long as he holds it.
"""

import os
import pwd
import signal
import socket
import threading
from contextlib import contextmanager

import pytest
from harness.fcgi_client import fetch
from harness.machine import POOL_USER, wait_until
from harness.master import Pyfpm

POOL = """
[pool:{name}]
app = {app}:app
listen = {listen}
pm = static
pm.max_children = 1
"""
GATED = """\
import os, time
while os.path.exists(os.path.join(os.path.dirname(__file__), "closed")):
    time.sleep(0.01)
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get("MARK", "none").encode()]
"""


def pool(name, listen, app="hello", *lines):
    return POOL.format(name=name, app=app, listen=listen) + "".join(f"{line}\n" for line in lines)


def here(name):
    return f"%(here)s/{name}.sock"


OTHER = pool("other", here("other"))


@contextmanager
def taken_port():
    """A port that somebody holds; its address, and the call that frees it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}", taken.close


@contextmanager
def gated(*pools):
    """A master whose pools boot while a file is not there; the master, and that file."""
    files = {"gated.py": GATED}
    with Pyfpm("".join(pools), files=files, defaults="boot_timeout = 60s") as fpm:
        try:
            yield fpm, fpm.app / "closed"
        finally:
            (fpm.app / "closed").unlink(missing_ok=True)


class Reload(threading.Thread):
    """`pyfpm reload` beside the test."""

    def __init__(self, fpm, *names):
        super().__init__(daemon=True)
        self._call = lambda: fpm.command("reload", *names)
        self.start()

    def run(self):
        self._done = self._call()

    def ended(self):
        self.join(60)
        return self._done


def add(fpm, text):
    fpm.config.write_text(fpm.config.read_text() + text)


def replace(fpm, old, new):
    text = fpm.config.read_text()
    assert old in text
    fpm.config.write_text(text.replace(old, new))


def state_of(fpm, name):
    return fpm.pool_status(name)["state"]


def wait_running(fpm, name):
    wait_until(lambda: state_of(fpm, name) == "running", timeout_s=40)


def test_new_pool_whose_port_is_taken_comes_late():
    """The reload says so with the line, and ends with 1; status has the pool and the reason."""
    with taken_port() as (address, free), Pyfpm(OTHER) as fpm:
        add(fpm, pool("fresh", address))
        line = fpm.config.read_text().splitlines().index(f"listen = {address}") + 1
        done = fpm.command("reload")
        assert done.returncode == 1
        reason = f"bind {address}: address already in use"
        assert f"pyfpm.conf:{line}: [pool:fresh] listen: {reason}" in done.stderr
        assert "it is tried again" in done.stderr
        assert fpm.pool_status("other")["generation"] == 2
        status = fpm.pool_status("fresh")
        assert (status["state"], status["reason"]) == ("degraded", reason)
        free()
        wait_running(fpm, "fresh")
        assert fetch(address).status == 200


def test_new_pool_in_a_folder_that_its_tenant_took_away_comes_late(as_root):
    """A folder that is gone, then one behind a link that root does not follow, then a real one."""

    def make(path):
        os.mkdir(path)
        os.chown(path, pwd.getpwnam(POOL_USER).pw_uid, -1)

    with Pyfpm(OTHER, prepare=lambda folder: make(folder / "home")) as fpm:
        site = fpm.folder / "home" / "site"
        add(fpm, pool("fresh", "%(here)s/home/site/run/fresh.sock"))
        done = fpm.command("reload")
        assert done.returncode == 1
        assert fpm.pool_status("other")["generation"] == 2
        assert f"make its folder {site}/run: no such file" in fpm.pool_status("fresh")["reason"]
        site.symlink_to("/tmp")
        os.lchown(site, pwd.getpwnam(POOL_USER).pw_uid, -1)
        done = fpm.command("reload", "fresh")
        assert (done.returncode, "is a symbolic link" in done.stderr) == (1, True)
        assert "is a symbolic link" in fpm.pool_status("fresh")["reason"]
        site.unlink()
        make(site)
        wait_running(fpm, "fresh")
        assert fetch(fpm.address("home/site/run/fresh.sock")).status == 200


def test_one_named_pool_that_comes_late_is_told_of_with_its_line():
    """The lines are those of the file as it is now, although the other pools were not reloaded."""
    with taken_port() as (address, _), Pyfpm(OTHER) as fpm:
        fpm.config.write_text(f"; a line more\n{fpm.config.read_text()}{pool('fresh', address)}")
        line = fpm.config.read_text().splitlines().index(f"listen = {address}") + 1
        mark = fpm.log.mark()
        done = fpm.command("reload", "fresh")
        assert done.returncode == 1
        assert f"pyfpm.conf:{line}: [pool:fresh] listen: bind {address}" in done.stderr
        fpm.log.wait_for(
            rf"ERROR: .*pool fresh.* next try in 2\.0 s: .*conf:{line}: \[pool:fresh\] listen: ",
            since=mark,
        )
        assert fpm.pool_status("other")["generation"] == 1


def test_pool_whose_new_address_is_taken_serves_on_at_the_old_one():
    """New code comes into service when somebody asks for it, so the operator repeats the reload."""
    with taken_port() as (address, free), Pyfpm(OTHER + pool("moves", here("old"))) as fpm:
        replace(fpm, here("old"), address)
        mark = fpm.log.mark()
        done = fpm.command("reload")
        assert done.returncode == 1
        assert f"pool moves: bind {address}: address already in use" in done.stderr
        assert "the old generation serves on" in done.stderr
        assert fpm.pool_status("other")["generation"] == 2
        status = fpm.pool_status("moves")
        assert (status["state"], status["generation"]) == ("running", 1)
        assert f"the last reload failed: bind {address}" in status["reason"]
        assert fetch(fpm.address("old.sock")).status == 200
        assert "next try" not in fpm.log.text(mark)
        free()
        assert fpm.command("reload", "moves").returncode == 0
        assert fetch(address).status == 200
        assert not (fpm.folder / "old.sock").exists()


def test_pool_that_is_still_late_is_tried_soon_after_a_reload():
    """Somebody has looked after it: how long it was waited for before counts no more."""
    with taken_port() as (address, free), Pyfpm(OTHER + pool("late", address)) as fpm:
        fpm.log.wait_for(r"pool late.* next try in 2\.0 s")
        mark = fpm.log.mark()
        done = fpm.command("reload")
        assert done.returncode == 1
        assert f"[pool:late] listen: bind {address}: address already in use" in done.stderr
        assert "it is tried again" in done.stderr
        fpm.log.wait_for(r"pool late.* next try in 1\.0 s", since=mark)
        fpm.log.wait_for(r"pool late.* next try in 2\.0 s", since=mark)
        free()
        wait_running(fpm, "late")


def test_late_pool_with_another_address_waits_for_that_one_alone():
    """The address that it had is not opened when it becomes free."""
    with (
        taken_port() as (first, free_first),
        taken_port() as (second, free_second),
        Pyfpm(OTHER + pool("late", first)) as fpm,
    ):
        replace(fpm, first, second)
        assert fpm.command("reload").returncode == 1
        assert fpm.pool_status("late")["reason"] == f"bind {second}: address already in use"
        free_first()
        fpm.log.wait_for(rf"pool late.* next try in 2\.0 s: .*bind {second}")
        host, port = first.split(":")
        with socket.socket() as client:
            assert client.connect_ex((host, int(port))) != 0
        free_second()
        wait_running(fpm, "late")
        assert fetch(second).status == 200


def test_late_pool_that_is_removed_does_not_come_up_during_the_reload():
    """It is forgotten at once: it would be in the way of the pool that has its address now."""
    with (
        taken_port() as (address, free),
        gated(pool("slow", here("slow"), "gated"), pool("late", address)) as (fpm, gate),
    ):
        gate.touch()
        replace(fpm, "[pool:late]", "[pool:fresh]")
        reload = Reload(fpm)
        wait_until(lambda: "fresh" in fpm.status()["pools"])
        assert "late" not in fpm.status()["pools"]
        assert fpm.status()["pyfpm"]["state"] == "reloading"
        free()
        wait_running(fpm, "fresh")
        gate.unlink()
        done = reload.ended()
        assert (done.returncode, "[pool:fresh] listen: " in done.stderr) == (1, True)
        assert list(fpm.status()["pools"]) == ["slow", "fresh"]
        assert fetch(address).status == 200
        assert "pool late] opened" not in fpm.log.text()


def test_late_pool_that_comes_up_during_a_reload_has_its_new_options_at_the_end():
    """Four boot side by side; when its turn comes it is a running pool, and reloaded."""
    slow = [pool(f"slow{number}", here(f"slow{number}"), "gated") for number in range(4)]
    late = pool("late", "{}", "gated", "priority = 1000", "environment = MARK=old")
    with (
        taken_port() as (address, free),
        gated(*slow, late.format(address)) as (fpm, gate),
    ):
        gate.touch()
        replace(fpm, "MARK=old", "MARK=new")
        reload = Reload(fpm)
        wait_until(lambda: fpm.status()["pyfpm"]["state"] == "reloading")
        free()
        fpm.log.wait_for(r"pool late.* opened at last", timeout_s=40)
        gate.unlink()
        assert reload.ended().returncode == 0
        assert fetch(address).body == b"new"
        assert fpm.pool_status("late")["generation"] == 2


def test_new_pool_that_is_stopped_while_it_is_late_is_not_tried():
    """`stop` takes it back; `start-pool` asks for it again, and it comes when its way is free."""
    with taken_port() as (address, free), Pyfpm(OTHER) as fpm:
        add(fpm, pool("fresh", address))
        assert fpm.command("reload").returncode == 1
        assert fpm.command("stop", "fresh").returncode == 0
        assert state_of(fpm, "fresh") == "stopped"
        refused = fpm.command("start-pool", "fresh")
        assert refused.returncode == 1
        assert f"[pool:fresh] listen: bind {address}: address already in use" in refused.stderr
        assert "it is tried again" in refused.stderr
        assert state_of(fpm, "fresh") == "degraded"
        free()
        wait_running(fpm, "fresh")


def test_late_pool_that_somebody_started_stays_wanted_by_a_reload():
    """With autostart = no a pool that runs is reloaded too."""
    with (
        taken_port() as (address, free),
        Pyfpm(OTHER + pool("late", address, "hello", "autostart = no")) as fpm,
    ):
        assert state_of(fpm, "late") == "stopped"
        assert fpm.command("reload").returncode == 0
        assert state_of(fpm, "late") == "stopped"
        assert fpm.command("start-pool", "late").returncode == 1
        assert fpm.command("reload").returncode == 1
        assert state_of(fpm, "late") == "degraded"
        free()
        wait_running(fpm, "late")


def test_pool_that_came_late_in_a_reload_is_tried_again_after_an_upgrade():
    """The new code knows of it, and of the line that the old code read."""
    with taken_port() as (address, free), Pyfpm(OTHER) as fpm:
        add(fpm, pool("fresh", address))
        assert fpm.command("reload").returncode == 1
        assert fpm.command("upgrade").returncode == 1
        fpm.log.wait_for("runs in the place of")
        assert state_of(fpm, "fresh") == "degraded"
        free()
        wait_running(fpm, "fresh")
        assert fetch(address).status == 200


def test_service_that_ends_during_a_reload_opens_no_pool_any_more():
    """A new pool whose turn comes after the TERM would be ended by nobody."""
    slow = [pool(f"slow{number}", here(f"slow{number}"), "gated") for number in range(4)]
    with gated(*slow) as (fpm, gate):
        gate.touch()
        add(fpm, pool("fresh", here("fresh")))
        reload = Reload(fpm)
        wait_until(lambda: fpm.status()["pyfpm"]["state"] == "reloading")
        fpm.log.wait_for("slow3: booting generation 2")
        fpm.process.send_signal(signal.SIGTERM)
        assert fpm.process.wait(40) == 0
        reload.ended()
        assert "pool fresh: starting" not in fpm.log.text()


@pytest.mark.parametrize("command", ["reload", "start-pool"])
def test_every_try_gives_its_descriptors_back(command):
    """However often somebody asks for a pool that cannot be opened."""
    with taken_port() as (address, _), Pyfpm(OTHER + pool("late", address)) as fpm:

        def count():
            return len(os.listdir(f"/proc/{fpm.process.pid}/fd"))

        fpm.command(command, "late")
        before = count()
        for _ in range(5):
            assert fpm.command(command, "late").returncode == 1
        assert count() <= before + 1  # the client that was just answered


def test_log_of_warnings_alone_has_the_details_of_a_failed_reload(as_root):
    """What the check has found, which pools failed and why; and nothing of one that succeeds."""

    def prepare(folder):
        (folder / "home").mkdir()
        os.chown(folder / "home", pwd.getpwnam(POOL_USER).pw_uid, -1)

    with Pyfpm(OTHER, main="log_level = warning", prepare=prepare, wait_ready=False) as fpm:
        wait_until((fpm.folder / "control.sock").exists)
        wait_until(lambda: "other" in fpm.status()["pools"])
        wait_running(fpm, "other")
        assert fpm.command("reload").returncode == 0
        assert fpm.log.text() == ""
        add(fpm, pool("fresh", "%(here)s/home/gone/run/fresh.sock"))
        assert fpm.command("reload").returncode == 1
        gone = f"{fpm.folder}/home/gone"
        for said in (
            rf"ERROR: .*conf:\d+: \[pool:fresh\] listen: there is no folder {gone} for ",
            r"ERROR: reload: pool fresh: failed",
            rf"ERROR: reload failed: pool fresh: .*make its folder {gone}/run: no such file",
        ):
            fpm.log.wait_for(said)
