"""A sandboxed pool through its life: boot, reload, upgrade, rotation, recycling, the end."""

import fcntl
import glob
import importlib.util
import os
import pwd
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from harness.fcgi_client import fetch
from harness.machine import (
    POOL_USER,
    REPOSITORY,
    find_closed_folder,
    is_open_to_others,
    make_venv,
    wait_until,
)
from harness.master import Pyfpm
from harness.processes import title_of
from harness.sandbox_app import PROBE, Site

from pyfpm.kernel.landlock import missing_walls, read_support

pytestmark = pytest.mark.skipif(
    bool(missing_walls(read_support())), reason="this kernel lacks a part of the sandbox"
)

POOL = """
[pool:{name}]
app = probe:app
listen = %(here)s/{name}.sock
pm = static
pm.max_children = 1
{lines}
"""
FILES = {"probe.py": PROBE}


def pool(*lines, name="a"):
    return POOL.format(name=name, lines="\n".join(lines))


def make_data(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
        (folder / name / "file").write_text(f"text of {name}")


def change(fpm, old, new):
    text = fpm.config.read_text()
    assert old in text
    fpm.config.write_text(text.replace(old, new))


def temporary_folders(name):
    return glob.glob(f"{tempfile.gettempdir()}/pyfpm-tmp-{name}-" + "?" * 16)


def is_locked(folder):
    """Whether some master holds it, which keeps others from cleaning it away."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def unique(name):
    """A name for a pool whose temporary folders no other test has."""
    return f"{name}{os.getpid()}"


def test_reload_makes_changed_lists_effective():
    """The new zygote has the new rules; what was taken from the list is closed."""
    with Pyfpm(pool("sandbox.read = one"), files=FILES, prepare=make_data) as fpm:
        site, one, two = Site(fpm, "a"), fpm.folder / "one/file", fpm.folder / "two/file"
        assert site.attempt("read", one) == "text of one"
        assert site.attempt("read", two) == "EACCES"
        change(fpm, "sandbox.read = one", "sandbox.read = two")
        assert fpm.command("reload").returncode == 0
        assert site.attempt("read", one) == "EACCES"
        assert site.attempt("read", two) == "text of two"
        change(fpm, "sandbox.read = two", "sandbox = off")
        assert fpm.command("reload").returncode == 0
        assert site.attempt("read", one) == "text of one"
        change(fpm, "sandbox = off", "sandbox = on")
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


def test_temporary_files_survive_reload_and_upgrade_and_go_with_the_pool():
    """One folder for the pool's life; nothing is left in /tmp afterwards."""
    name = unique("tmp")
    with Pyfpm(pool("sandbox = on", name=name), files=FILES) as fpm:
        site = Site(fpm, name)
        kept = site.attempt("temporary")
        assert [os.path.dirname(kept)] == temporary_folders(name)
        for command in ("reload", "upgrade", "reload"):
            done = fpm.command(command)
            assert done.returncode == 0, done.stderr
            assert site.attempt("read", kept) == ""
            assert os.path.dirname(site.attempt("temporary")) == os.path.dirname(kept)
            assert is_locked(os.path.dirname(kept))
        assert fpm.command("stop", name).returncode == 0
        assert temporary_folders(name) == []
        assert fpm.command("start-pool", name).returncode == 0
        assert len(temporary_folders(name)) == 1
        assert site.attempt("read", kept) == "ENOENT"
    assert temporary_folders(name) == []


def test_sandbox_holds_after_an_upgrade():
    """In the workers that lived through it, and in those that come after."""
    lines = pool("sandbox.read = one", "pm.max_requests = 0")
    with Pyfpm(lines, files=FILES, prepare=make_data) as fpm:
        site, old = Site(fpm, "a"), fpm.worker_pids("a")
        assert fpm.command("upgrade").returncode == 0
        assert site.attempt("pid") not in old
        assert site.attempt("read", fpm.folder / "one/file") == "text of one"
        assert site.attempt("read", "/etc/passwd") == "EACCES"


def test_pool_that_loses_its_sandbox_loses_its_folder():
    """With the last process of the old generation; and gets one again with the sandbox."""
    name = unique("off")
    with Pyfpm(pool("sandbox = on", name=name), files=FILES) as fpm:
        assert len(temporary_folders(name)) == 1
        change(fpm, "sandbox = on", "sandbox = off")
        assert fpm.command("reload").returncode == 0
        wait_until(lambda: not temporary_folders(name))
        assert Site(fpm, name).attempt("environ", "TMPDIR") is None
        change(fpm, "sandbox = off", "sandbox = on")
        assert fpm.command("reload").returncode == 0
        assert temporary_folders(name) == [Site(fpm, name).attempt("environ", "TMPDIR")]


def test_another_user_gets_another_folder(as_root):
    """Nobody inherits what another user left."""
    name = unique("user")
    lines = pool("sandbox = on", "user = games", name=name)
    with Pyfpm(lines, files=FILES) as fpm:
        site = Site(fpm, name)
        first = site.attempt("environ", "TMPDIR")
        assert os.stat(first).st_uid == pwd.getpwnam("games").pw_uid
        change(fpm, "user = games", "user = nobody")
        assert fpm.command("reload").returncode == 0
        second = site.attempt("environ", "TMPDIR")
        assert os.stat(second).st_uid == pwd.getpwnam("nobody").pw_uid
        assert os.path.isfile(site.attempt("temporary"))
        wait_until(lambda: temporary_folders(name) == [second])


def test_refused_reload_leaves_folder_and_sandbox_as_they_were():
    """A generation that does not come up takes nothing with it."""
    name = unique("bad")
    with Pyfpm(pool("sandbox = on", name=name), files=FILES) as fpm:
        site = Site(fpm, name)
        kept = site.attempt("temporary")
        (fpm.app / "probe.py").write_text("raise RuntimeError('not today')")
        assert fpm.command("reload").returncode == 1
        assert site.attempt("read", kept) == ""
        assert temporary_folders(name) == [os.path.dirname(kept)]


def test_folder_of_a_killed_master_is_removed_by_the_next():
    """kill -9 leaves it behind; the lock that nobody holds any more says so."""
    name = unique("killed")
    text = pool("sandbox = on", name=name)
    with Pyfpm(text, files=FILES) as fpm:
        left = os.path.dirname(Site(fpm, name).attempt("temporary"))
        with Pyfpm(text, files=FILES) as other:  # a live neighbour's is left alone
            assert len(temporary_folders(name)) == 2
            assert os.path.isdir(Site(other, name).attempt("environ", "TMPDIR"))
        assert temporary_folders(name) == [left]
        fpm.kill()
    assert temporary_folders(name) == [left]
    with Pyfpm(text, files=FILES) as fpm:
        wait_until(lambda: not os.path.exists(left))
        assert temporary_folders(name) == [Site(fpm, name).attempt("environ", "TMPDIR")]
    assert temporary_folders(name) == []


def test_folder_that_somebody_removed_is_made_anew():
    """At the next boot; until then the pool has none."""
    name = unique("gone")
    with Pyfpm(pool("sandbox = on", name=name), files=FILES) as fpm:
        site = Site(fpm, name)
        os.rmdir(site.attempt("environ", "TMPDIR"))
        assert fpm.command("reload").returncode == 0
        assert os.path.isfile(site.attempt("temporary"))


def test_pool_that_cannot_be_opened_leaves_no_folder():
    """Its address is taken: the other pool has its folder, and this one none until it is open."""
    name, other = unique("refused"), unique("other")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        pools = pool("sandbox = on", name=name)
        pools = pools.replace(f"%(here)s/{name}.sock", f"127.0.0.1:{port}")
        with Pyfpm(pools + pool("sandbox = on", name=other), files=FILES) as fpm:
            assert "address already in use" in fpm.pool_status(name)["reason"]
            assert not temporary_folders(name)
            assert temporary_folders(other)
    assert not temporary_folders(name)


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
        if find_closed_folder(sys.executable) or find_closed_folder(REPOSITORY):
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


def test_venv_in_another_users_home_serves(as_root):
    """Modes let the pool's user read it; its base interpreter lies somewhere else again."""

    def prepare(folder):
        home = folder / "home"
        (home / "base/bin").mkdir(parents=True)
        python = os.path.realpath(sys.executable)
        shutil.copy(python, home / "base/bin/python3.11")
        prefix = os.path.dirname(os.path.dirname(python))
        (home / "base/lib").symlink_to(os.path.join(prefix, "lib"))
        (home / "venv/bin").mkdir(parents=True)
        (home / "venv/bin/python").symlink_to(home / "base/bin/python3.11")
        (home / "venv/pyvenv.cfg").write_text(f"home = {home}/base/bin\n")
        site = home / "venv/lib/python{}.{}/site-packages".format(*sys.version_info[:2])
        site.mkdir(parents=True)
        (site / "only_here.py").write_text("")
        games = pwd.getpwnam("games")
        for path in [home, *home.rglob("*")]:
            os.chown(path, games.pw_uid, games.pw_gid, follow_symlinks=False)

    lines = pool("sandbox = on", "python = %(here)s/home/venv")
    with Pyfpm(lines, files=FILES, prepare=prepare) as fpm:
        site = Site(fpm, "a")
        assert site.attempt("import", "only_here").startswith(f"{fpm.folder}/home/venv/lib/")
        assert site.attempt("list", fpm.folder / "home") == "EACCES"


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_newer_interpreter_with_a_standard_library_of_its_own_serves(version):
    """Neither in /usr nor in a venv: its prefix is found from where it lies."""
    found = sorted(glob.glob(f"/root/.pyenv/versions/{version}.*/bin/python{version}"))
    if not found or os.getuid():
        pytest.skip(f"no Python {version}")
    lines = pool("sandbox = on", f"python = {found[0]}")
    with Pyfpm(lines, files=FILES, defaults="user =", arguments=["-R"]) as fpm:
        site = Site(fpm, "a")
        assert site.attempt("read", "/etc/shadow") == "EACCES"  # though it is root
        assert site.attempt("modules") == "image/png"
        assert site.attempt("import", "json").startswith(os.path.dirname(found[0])[:-4])


# -- a site ---------------------------------------------------------------------------------------

DJANGO = ["django", "asgiref", "sqlparse"]
DJANGO_POOL = """
[pool:django]
app = wsgi:application
directory = %(here)s/app/django_site
python = django-venv
listen = %(here)s/django.sock
environment = DATABASE="%(here)s/data/notes.sqlite",SECRET_KEY="test"
pm = static
pm.max_children = 2
"""
FORM = "application/x-www-form-urlencoded"


def prepare_django(folder):
    make_venv(folder / "django-venv", *DJANGO)
    for name in ("data", "other"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)


def linked_packages():
    """Where the packages of the venv lie that are links: the sandbox follows no link by itself."""
    found = [os.path.dirname(importlib.util.find_spec(name).origin) for name in DJANGO]
    return "sandbox.read = " + " ".join(path for path in found if is_open_to_others(path))


def test_django_site_with_sqlite_in_its_own_folder_works():
    """Migrations at boot, a page, a form, the database; nothing else is listed."""
    lines = DJANGO_POOL + linked_packages() + "\nsandbox.write = data\n"
    with Pyfpm(lines, prepare=prepare_django) as fpm:
        address = fpm.address("django.sock")
        page = fetch(address, "/")
        assert page.status == 200, fpm.log.text()
        token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)[1]
        cookies = [value.partition(";")[0] for name, value in page.headers if name == "Set-Cookie"]
        saved = fetch(
            address,
            "/",
            method="POST",
            body=b"text=a+note&csrfmiddlewaretoken=" + token,
            headers={"Cookie": "; ".join(cookies)},
            params={"CONTENT_TYPE": FORM},
        )
        assert saved.status == 302, fpm.log.text()
        assert b"<li>a note</li>" in fetch(address, "/").body
        assert (fpm.folder / "data/notes.sqlite").stat().st_size


def test_django_site_whose_database_is_not_listed_does_not_boot():
    """The positive twin's other half: it is the list that lets the database be opened."""
    lines = DJANGO_POOL + linked_packages() + "\nsandbox.write = other\n"
    with Pyfpm(lines, prepare=prepare_django, wait_ready=False) as fpm:
        fpm.log.wait_for("unable to open database file", timeout_s=30)
        fpm.log.wait_for("no pool could start its application")
        assert fpm.process.wait(20) == 1
