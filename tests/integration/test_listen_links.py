"""Links on the way to a socket: root follows its own, and nobody else's."""

import contextlib
import os
import pwd
import socket
import stat
import sys
import tempfile
import time
from pathlib import Path

import pytest
from forked import Forked
from harness.fcgi_client import fetch
from harness.machine import POOL_USER, temporary_folder
from harness.master import Pyfpm, run_pyfpm

from pyfpm.config import load_config
from pyfpm.errors import SpawnError
from pyfpm.master.identity import Identity
from pyfpm.master.listeners import open_listeners

pytestmark = pytest.mark.usefixtures("as_root")

TENANT, GROUP, STRANGER = 12345, 23456, 54321
POOL = Identity(TENANT, GROUP, (GROUP,), "", "", None, True)
POOLS = """
[pool:own]
app = hello:app
listen = %(here)s/home/run/own.sock
pm = static
pm.max_children = 1

[pool:other]
app = hello:app
listen = %(here)s/other.sock
pm = static
pm.max_children = 1
"""


@pytest.fixture
def place():
    """`home`, which the tenant owns, with its `run`; and `precious`, which is root's."""
    with temporary_folder() as folder:
        (folder / "precious").mkdir()
        (folder / "home/run").mkdir(parents=True)
        for path in (folder / "home", folder / "home/run"):
            os.chown(path, TENANT, TENANT)
        yield folder


def listen(place, path):
    """The listener of a pool; nobody has checked its configuration before."""
    text = f"[pool:shop]\napp = shop:app\nlisten = {place}/{path}\n"
    config = load_config(
        f"{place}/pyfpm.conf", {}, is_root=True, allow_root=True, check_system=False, text=text
    )
    (listener,) = open_listeners(config.pools["shop"], POOL)
    return listener


def replace_by_link(path, target, owner=TENANT):
    """What a tenant does who wants root to go elsewhere."""
    path.rename(path.with_name("gone"))
    path.symlink_to(target)
    os.chown(path, owner, owner, follow_symlinks=False)


def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("owner", [TENANT, STRANGER])
def test_link_of_others_in_the_place_of_the_folder_is_not_followed(place, owner):
    """Neither that of the pool's own user; the message names it, its owner and the way out."""
    replace_by_link(place / "home/run", place / "precious", owner)
    with pytest.raises(SpawnError, match=r"bind .*symbolic link") as caught:
        listen(place, "home/run/s.sock")
    assert f"{place}/home/run is a symbolic link of user {owner}" in str(caught.value)
    assert "write the folder that it leads to" in str(caught.value)
    assert os.listdir(place / "precious") == []


def test_link_of_others_higher_up_makes_no_folder_elsewhere(place):
    """Root makes the last folder of a path, and would do so where the link leads."""
    replace_by_link(place / "home/run", place / "precious")
    with pytest.raises(SpawnError, match=f"{place}/home/run is a symbolic link"):
        listen(place, "home/run/deeper/s.sock")
    assert os.listdir(place / "precious") == []


def test_link_of_others_removes_no_dead_socket_elsewhere(place):
    """What looks like a leftover there is another's business."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place / "precious/s.sock"))
    replace_by_link(place / "home/run", place / "precious")
    with pytest.raises(SpawnError, match="symbolic link"):
        listen(place, "home/run/s.sock")
    assert os.listdir(place / "precious") == ["s.sock"]


def test_link_of_others_behind_a_link_of_root_is_not_followed(place):
    """The way is followed to its end."""
    replace_by_link(place / "home/run", place / "precious")
    (place / "run").symlink_to("home/run")
    with pytest.raises(SpawnError, match=f"{place}/home/run is a symbolic link"):
        listen(place, "run/s.sock")
    assert os.listdir(place / "precious") == []


@pytest.mark.parametrize("target", ["home/run", "precious"])
def test_links_of_root_are_followed(place, target):
    """/var/run is one on most machines; also to a folder of the tenant."""
    (place / "run").symlink_to(target)
    (place / "home/link").symlink_to(place / "run")
    for path in ("run/s.sock", "home/link/s.sock"):
        listener = listen(place, path)
        connect(place / path)
        assert os.listdir(place / target) == ["s.sock"]
        assert listener.path == f"{place}/{path}"
        listener.close()
        assert os.listdir(place / target) == []


@contextlib.contextmanager
def at_call(function, action):
    """Do something when a function of pyfpm is about to run; it must have."""
    calls = []

    def trace(frame, event, argument):
        del event, argument
        if frame.f_code.co_name == function and not calls:
            calls.append(function)
            action()

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)
    assert calls


@pytest.mark.parametrize("function", ["clear_stale_socket", "bind_closed", "change_access"])
def test_folder_that_is_exchanged_while_the_socket_is_made_gets_it_all_the_same(place, function):
    """What was looked at is what is used; the link comes too late, and leads nobody astray."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place / "precious/s.sock"))
    kept = os.lstat(place / "precious/s.sock")
    with at_call(function, lambda: replace_by_link(place / "home/run", place / "precious")):
        listener = listen(place, "home/run/s.sock")
    connect(place / "home/gone/s.sock")
    found = os.lstat(place / "precious/s.sock")
    assert (found.st_ino, found.st_uid, found.st_mode) == (kept.st_ino, 0, kept.st_mode)
    listener.close()


def test_file_of_a_socket_is_removed_where_it_was_made_and_nowhere_else(place):
    """At the end as well root follows no link of others."""
    listener = listen(place, "home/run/s.sock")
    replace_by_link(place / "home/run", place / "home/gone")
    listener.close()
    assert os.listdir(place / "home/gone") == ["s.sock"]


def test_socket_is_known_by_its_path_where_root_alone_decides_about_the_way(place):
    """`ss -xl` and /proc/net/unix show what everybody understands, in a tenant's folder too."""
    for path in ("precious/s.sock", "home/s.sock"):
        listener = listen(place, path)
        assert listener.sock.getsockname() == f"{place}/{path}"
        listener.close()


def test_name_that_is_too_long_for_a_folder_of_a_tenant_is_refused_with_the_bound(place):
    """The name goes with the folder's descriptor into the 107 bytes of a socket's path."""
    for path in ("precious", "home"):
        listen(place, f"{path}/{'n' * (107 - len(f'{place}/{path}/'))}").close()
    with tempfile.TemporaryDirectory(prefix="", dir="/tmp") as short:
        os.chown(short, TENANT, TENANT)  # who can rename it, then
        longest = "n" * (107 - len(f"{short}/"))
        with pytest.raises(
            SpawnError, match=rf"others than root can exchange {short}, .* \d+ bytes"
        ):
            listen(Path(short), longest)
        listen(Path(short), longest[:60]).close()
        assert os.listdir(short) == []


def make_home(folder):
    user = pwd.getpwnam(POOL_USER)
    (folder / "home/run").mkdir(parents=True)
    (folder / "precious").mkdir()
    for path in (folder / "home", folder / "home/run"):
        os.chown(path, user.pw_uid, user.pw_gid)


def exchange(folder):
    uid = pwd.getpwnam(POOL_USER).pw_uid
    replace_by_link(folder / "home/run", folder / "precious", uid)
    return rf"\[pool:own\] listen: {folder}/home/run is a symbolic link of user {uid}"


def test_pool_of_a_tenants_link_comes_late_and_nothing_is_made_where_it_leads():
    """The start says what `check` says, with the line, and the other pool serves."""

    def prepare(folder):
        make_home(folder)
        exchange(folder)

    with Pyfpm(POOLS, prepare=prepare) as fpm:
        assert fetch(fpm.address("other.sock")).status == 200
        fpm.log.wait_for(r"pyfpm\.conf:\d+: \[pool:own\] listen: .* is a symbolic link of user")
        checked = run_pyfpm("-c", fpm.config, "check")
        assert checked.returncode == 78
        assert f"[pool:own] listen: {fpm.folder}/home/run is a symbolic link" in checked.stderr
        assert os.listdir(fpm.folder / "precious") == []


def test_reload_goes_on_although_a_tenant_made_a_link():
    """Its socket listens already, and the other pools are none of its business."""
    with Pyfpm(POOLS, prepare=make_home) as fpm:
        own = fpm.folder / "home/gone/own.sock"
        words = exchange(fpm.folder)
        reloaded = fpm.command("reload")
        assert reloaded.returncode == 0, reloaded.stderr
        fpm.log.wait_for(words)
        assert fetch(fpm.address("other.sock")).status == 200
        assert fetch(f"unix:{own}").status == 200
        assert os.listdir(fpm.folder / "precious") == []
        own.unlink()  # root finds no way to it any more


def test_link_put_in_the_place_of_a_new_socket_is_never_followed_by_root(as_root):
    """The owner of the folder swaps as fast as it can; the victim's owner and mode never change."""
    attacker = pwd.getpwnam("nobody")
    with temporary_folder() as folder:
        run, victim = folder / "run", folder / "victim"
        run.mkdir()
        os.chown(run, attacker.pw_uid, attacker.pw_gid)
        victim.touch(mode=0o600)
        victim.chmod(0o600)
        path = run / "s"
        text = f"[pool:shop]\napp = shop:app\nlisten = {path}\nlisten.mode = 0666\n"
        options = load_config(
            str(folder / "pyfpm.conf"),
            {},
            is_root=True,
            allow_root=True,
            check_system=False,
            text=text,
        ).pools["shop"]
        identity = Identity(attacker.pw_uid, attacker.pw_gid, (), "", "", None, True)

        def swap(_orders, tell):
            os.setgroups([])
            os.setgid(attacker.pw_gid)
            os.setuid(attacker.pw_uid)
            place, link = str(path), str(run / "link")
            tell(b"s")
            while True:
                with contextlib.suppress(FileExistsError):
                    os.symlink(victim, link)
                with contextlib.suppress(FileNotFoundError):
                    while not stat.S_ISSOCK(os.lstat(place).st_mode):
                        pass
                    os.rename(link, place)

        swapped = 0
        deadline_s = time.monotonic() + 3
        with Forked(swap) as swapper:
            assert swapper.hear() == b"s"
            while swapped < 200 and time.monotonic() < deadline_s:
                with contextlib.suppress(SpawnError):  # the link of the last try came late
                    for listener in open_listeners(options, identity):
                        swapped += path.is_symlink()
                        listener.close()
                found = victim.stat()
                assert (found.st_uid, found.st_gid) == (0, 0)
                assert stat.S_IMODE(found.st_mode) == 0o600
                path.unlink(missing_ok=True)
        assert swapped > 0


def test_master_of_root_starts_where_roots_link_leads():
    """The twin."""

    def prepare(folder):
        make_home(folder)
        (folder / "home/run").rmdir()
        (folder / "home/run").symlink_to(folder / "precious")

    with Pyfpm(POOLS, prepare=prepare) as fpm:
        assert fetch(fpm.address("home/run/own.sock")).status == 200
        assert os.listdir(fpm.folder / "precious") == ["own.sock"]
        assert run_pyfpm("-c", fpm.config, "check").returncode == 0
