"""A sandboxed pool through its life: boot, reload, upgrade, rotation, recycling, the end."""

import os
import pwd
from pathlib import Path

import pytest
from harness.fcgi_client import fetch
from harness.machine import POOL_USER, is_usable_by_others, needs_sandbox, wait_until
from harness.master import Pyfpm, reconfigure
from harness.processes import title_of
from harness.sandbox_app import FILES, PROBE, Site, pool, temporary_folders, unique

pytestmark = needs_sandbox


def make_data(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
        (folder / name / "file").write_text(f"text of {name}")


def test_reload_makes_changed_lists_effective():
    """The new zygote has the new rules; what was taken from the list is closed."""
    with Pyfpm(pool("sandbox.read = one"), files=FILES, prepare=make_data) as fpm:
        site, one, two = Site(fpm, "a"), fpm.folder / "one/file", fpm.folder / "two/file"
        assert site.attempt("read", one) == "text of one"
        assert site.attempt("read", two) == "EACCES"
        reconfigure(fpm, "sandbox.read = one", "sandbox.read = two")
        assert fpm.command("reload").returncode == 0
        assert site.attempt("read", one) == "EACCES"
        assert site.attempt("read", two) == "text of two"
        reconfigure(fpm, "sandbox.read = two", "sandbox = off")
        assert fpm.command("reload").returncode == 0
        assert site.attempt("read", one) == "text of one"
        reconfigure(fpm, "sandbox = off", "sandbox = on")
        assert fpm.command("reload").returncode == 0
        assert site.attempt("read", one) == "EACCES"


def test_reload_follows_a_link_that_leads_elsewhere_by_now():
    """As a deploy does it: the link changes, and the rules of the new zygote are for its target."""

    def prepare(folder):
        make_data(folder)
        (folder / "current").symlink_to("one")

    with Pyfpm(pool("sandbox.read = current"), files=FILES, prepare=prepare) as fpm:
        site, path = Site(fpm, "a"), fpm.folder / "current/file"
        assert site.attempt("read", path) == "text of one"
        (fpm.folder / "next").symlink_to("two")
        (fpm.folder / "next").rename(fpm.folder / "current")
        assert site.attempt("read", path) == "EACCES"
        assert fpm.command("reload").returncode == 0
        assert site.attempt("read", path) == "text of two"


def test_sandbox_holds_after_an_upgrade():
    """In the workers that lived through it, and in those that come after."""
    lines = pool("sandbox.read = one", "pm.max_requests = 0")
    with Pyfpm(lines, files=FILES, prepare=make_data) as fpm:
        site, old = Site(fpm, "a"), fpm.worker_pids("a")
        assert fpm.command("upgrade").returncode == 0
        assert site.attempt("pid") not in old
        assert site.attempt("read", fpm.folder / "one/file") == "text of one"
        assert site.attempt("read", "/etc/passwd") == "EACCES"


def test_own_tmpdir_of_the_pool_stays():
    """The pool's word counts, and then its lists must have the folder."""
    lines = pool("sandbox.write = two", "env[TMPDIR] = %(here)s/two")
    with Pyfpm(lines, files=FILES, prepare=make_data) as fpm:
        site = Site(fpm, "a")
        assert Path(site.attempt("temporary")).parent == fpm.folder / "two"


def test_path_that_is_refused_fails_the_pool_alone(as_root):
    """The boot says key and path; the other pool serves."""

    def prepare(folder):
        (folder / "own").symlink_to("/etc")
        os.chown(folder / "own", *pwd.getpwnam(POOL_USER)[2:4], follow_symlinks=False)

    pools = pool("sandbox.read = own") + pool("sandbox = on", name="b")
    with Pyfpm(pools, files=FILES, prepare=prepare) as fpm:
        words = f"sandbox.read: {fpm.folder}/own leads to /etc because of {fpm.folder}/own, which"
        said = (
            f"{words} user {POOL_USER} can change: look at that first; if it is meant, write /etc"
        )
        assert f"confine: {said} itself" in fpm.log.text()
        assert Site(fpm, "b").attempt("read", "/etc/passwd") == "EACCES"
        done = fpm.command("check")
        assert done.returncode == 78
        assert f"[pool:a] {words}" in done.stderr


@pytest.mark.parametrize(
    ("target", "where", "reason"),
    [
        ("closed", "closed", f"user {POOL_USER} cannot enter that"),
        ("closed/in", "closed", f"user {POOL_USER} cannot enter that"),
        ("none/in", "none", "there is no such place"),
    ],
)
def test_place_that_a_tenants_link_leads_to_is_not_advised_to_be_opened(
    as_root, target, where, reason
):
    """To open /root, or to make a folder in /etc, may be all that the link is for."""

    def prepare(folder):
        (folder / "closed/in").mkdir(parents=True)
        (folder / "closed").chmod(0o700)
        (folder / "own").symlink_to(folder / target)
        os.chown(folder / "own", *pwd.getpwnam(POOL_USER)[2:4], follow_symlinks=False)

    pools = pool("sandbox.read = own") + pool("sandbox = on", name="b")
    with Pyfpm(pools, files=FILES, prepare=prepare, wait_ready=False) as fpm:
        own, place = fpm.folder / "own", fpm.folder / where
        words = f"{own} leads to {place} because of {own}, which user {POOL_USER} can change, and"
        line = fpm.log.wait_for(r"confine: (sandbox\.read: .*)", timeout_s=30)
        assert (
            line[1] == f"sandbox.read: {words} {reason}: look at that first, or leave the path out"
        )
        assert Site(fpm, "b").attempt("read", "/etc/passwd") == "EACCES"


def test_worker_in_a_sandbox_is_replaced_for_its_memory():
    """It cannot open its own /proc: the master passes the file."""
    lines = pool("sandbox = on", "pm.max_memory = 80M")
    with Pyfpm(lines, files=FILES) as fpm:
        site = Site(fpm, "a")
        old = site.attempt("pid")
        assert site.attempt("read", "/proc/self/statm") == "EACCES"
        site.attempt("hoard", 100)
        wait_until(lambda: old not in fpm.worker_pids("a"))
        assert fpm.pool_status("a")["recycles"]["max_memory"] == 1
        assert "pm.max_memory:" not in fpm.log.text()


def test_access_log_goes_on_in_its_new_file():
    """Descriptors pass the sandbox; the workers have no right to the path."""
    with Pyfpm(pool("sandbox = on", "access.log = access.log"), files=FILES) as fpm:
        site, log = Site(fpm, "a"), fpm.folder / "access.log"
        assert site.attempt("read", log) == "EACCES"
        log.rename(fpm.folder / "access.log.1")
        assert fpm.command("reopen-logs").returncode == 0
        wait_until(lambda: site.attempt("pid") and log.read_text())


def test_stacks_of_a_slow_request_reach_the_log():
    """The worker writes them to a pipe that it was given."""
    lines = pool("sandbox = on", "request_slowlog_timeout = 100ms")
    app = PROBE + "\nimport time\nOPERATIONS['sleep'] = lambda: time.sleep(0.6)\n"
    with Pyfpm(lines, files={"probe.py": app}) as fpm:
        Site(fpm, "a").attempt("sleep")
        fpm.log.wait_for(r"probe\.py:\d+")


def test_preloaded_pool_looks_for_what_a_fork_would_break():
    """For that the zygote reads its own /proc, and finds the thread."""
    app = PROBE + "import threading\nwait = threading.Event().wait\n"
    app += "threading.Thread(target=wait, daemon=True).start()\n"
    with Pyfpm(pool("sandbox = on"), files={"probe.py": app}) as fpm:
        assert Site(fpm, "a").attempt("read", "/etc/passwd") == "EACCES"
        fpm.log.wait_for("the import started threads")


def test_processes_end_with_a_killed_master():
    """The sandbox stops signals to others, not those of the kernel and of the master."""
    name = unique("dead")
    with Pyfpm(pool("sandbox = on", name=name), files=FILES) as fpm:
        pids = [fpm.zygote_pid(name), *fpm.worker_pids(name)]
        assert len(pids) == 2
        assert all(pids)
        fpm.kill()
        wait_until(lambda: not any(title_of(pid) for pid in pids))
    for left in temporary_folders(name):
        os.rmdir(left)


def test_request_that_hangs_is_ended_by_the_master():
    """Whose signals go into the sandbox, as nobody's come out."""
    app = PROBE + "\nimport time\nOPERATIONS['sleep'] = lambda: time.sleep(60)\n"
    lines = pool("sandbox = on", "request_terminate_timeout = 300ms")
    with Pyfpm(lines, files={"probe.py": app}) as fpm:
        assert fetch(fpm.address("a.sock"), "/?sleep").status == 504


def test_master_that_is_not_root_has_sandboxes_too():
    """Landlock needs no privilege; the folder is the master's own user's then."""
    launcher, user = (), os.getuid()
    if user == 0:
        if not is_usable_by_others():
            pytest.skip("another user could not execute the master")
        user = pwd.getpwnam("nobody").pw_uid
        launcher = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]

    def prepare(folder):
        make_data(folder)
        folder.chmod(0o777)

    name = unique("plain")
    lines = pool("sandbox.read = one", name=name)
    with Pyfpm(lines, files=FILES, prepare=prepare, launcher=launcher) as fpm:
        site = Site(fpm, name)
        assert site.attempt("read", fpm.folder / "one/file") == "text of one"
        assert site.attempt("read", fpm.folder / "two/file") == "EACCES"
        assert site.attempt("read", "/etc/passwd") == "EACCES"
        assert os.stat(os.path.dirname(site.attempt("temporary"))).st_uid == user
        assert fpm.command("reload").returncode == 0
        assert site.attempt("read", "/etc/passwd") == "EACCES"
    assert temporary_folders(name) == []


def test_listed_proc_shows_names_and_keeps_environments_and_memory_closed():
    """What an operator opens for psutil, and what stays closed then: the kernel's own rule."""
    dumpable = "process.dumpable = yes"  # or the kernel refuses it, sandbox or not
    pools = pool("sandbox.read = /proc", dumpable) + pool(dumpable, name="b")
    with Pyfpm(pools, files=FILES) as fpm:
        site, twin = Site(fpm, "a"), Site(fpm, "b")
        other = twin.attempt("pid")
        assert site.attempt("read", "/proc/self/statm")
        assert site.attempt("read", f"/proc/{site.attempt('pid')}/environ")
        assert site.attempt("read", f"/proc/{other}/cmdline").startswith("pyfpm: pool b")
        assert site.attempt("read", f"/proc/{other}/environ") == "EACCES"
        assert site.attempt("read", f"/proc/{other}/maps") == "EACCES"
        assert "PATH=" in twin.attempt("read", f"/proc/{other}/environ")
