"""The private temporary folder of a sandboxed pool: when there is one, and when it goes."""

import fcntl
import os
import pwd
import socket

from harness.machine import needs_sandbox, wait_until
from harness.master import Pyfpm, reconfigure
from harness.sandbox_app import FILES, Site, pool, temporary_folders, unique

pytestmark = needs_sandbox


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


def test_pool_that_loses_its_sandbox_loses_its_folder():
    """With the last process of the old generation; and gets one again with the sandbox."""
    name = unique("off")
    with Pyfpm(pool("sandbox = on", name=name), files=FILES) as fpm:
        assert len(temporary_folders(name)) == 1
        reconfigure(fpm, "sandbox = on", "sandbox = off")
        assert fpm.command("reload").returncode == 0
        wait_until(lambda: not temporary_folders(name))
        assert Site(fpm, name).attempt("environ", "TMPDIR") is None
        reconfigure(fpm, "sandbox = off", "sandbox = on")
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
        reconfigure(fpm, "user = games", "user = nobody")
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
