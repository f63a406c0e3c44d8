"""A master that is root of a user namespace alone, as in a container without root.

`/` and much below it belong to a user of the machine around it, whom the namespace does not know.
"""

import os
import pwd
import re
import subprocess
import sys

import pytest
from harness.fcgi_client import fetch
from harness.machine import POOL_USER, temporary_folder, wait_until
from harness.master import Pyfpm, environment
from harness.processes import process_fields
from harness.user_namespace import launcher, need_user_namespaces

FIRST = 100000
EVERY_USER = (0, FIRST, 65536)  # 65534, the number of unknown users, is one of its own as well
ONLY_ROOT = (0, FIRST, 1)

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.fixture(scope="module")
def namespaces():
    need_user_namespaces()


@pytest.fixture
def folder():
    """Of the namespace's root, in /tmp, which belongs to a user that it does not know."""
    with temporary_folder() as made:
        os.chown(made, FIRST, FIRST)
        yield made


def make(path, owner, mode=0o755):
    path.mkdir()
    path.chmod(mode)
    os.chown(path, owner, owner)
    return path


def check(folder, logs, *ranges, keys="", words=(), listen="x.sock"):
    """What `pyfpm check` in the namespace says of an error log in this folder, or of a pool."""
    (folder / "app.py").write_text("app = None\n")
    config = folder / "pyfpm.conf"
    config.write_text(
        f"[pyfpm]\ncontrol = {folder}/c.sock\nerror_log = {logs}/e.log\n"
        f"[pool:x]\napp = app:app\nlisten = {folder}/{listen}\npython = /usr/bin/python3\n"
        f"{keys}\n"
    )
    words = [*words, sys.executable, "-m", "pyfpm", "-c", str(config), "check", "-R"]
    return subprocess.run(
        [*launcher(*ranges), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
        cwd="/",
    )


@pytest.mark.parametrize("ranges", [EVERY_USER, ONLY_ROOT])
def test_log_below_folders_of_the_machine_around_is_accepted(folder, ranges):
    """`/` and /tmp are that already; so may be what a volume is mounted into, and links there."""
    around = make(folder / "around", owner=0)
    make(around / "logs", owner=FIRST)
    (folder / "link").symlink_to(around)
    os.chown(folder / "link", 0, 0, follow_symlinks=False)
    (around / "link").symlink_to("logs")
    for logs in (folder, around / "logs", around / "link"):
        done = check(folder, logs, ranges)
        assert (done.returncode, done.stderr) == (0, "")
    assert "symbolic link" in check(folder, folder / "link" / "logs", ranges).stderr


def test_links_of_the_machine_around_lead_to_a_socket_where_their_folder_is_its_too(folder):
    """Nobody in here made them; in a folder of somebody in here that is not certain."""
    around = make(folder / "around", owner=0)
    make(around / "run", owner=FIRST)
    (around / "link").symlink_to("run")
    assert check(folder, folder, EVERY_USER, listen="around/link/x.sock").returncode == 0
    (folder / "link").symlink_to("around/run")
    os.chown(folder / "link", 0, 0, follow_symlinks=False)
    done = check(folder, folder, EVERY_USER, listen="link/x.sock")
    assert done.returncode == 78
    assert f"listen: {folder}/link is a symbolic link of user 65534" in done.stderr


@pytest.mark.parametrize(
    ("owner", "mode", "reason"),
    [
        (FIRST + 65534, 0o755, "its own `nobody`, who looks like any unknown user"),
        (FIRST + 33, 0o755, "another user of the namespace"),
        (0, 0o777, "unknown, and open to everybody"),
        (FIRST, 0o777, "its root's, and open to everybody"),
    ],
)
def test_log_below_a_folder_that_somebody_in_here_rules_is_refused(folder, owner, mode, reason):
    """A pool could exchange what is in there, and the master is root to it."""
    hostile = make(folder / "hostile", owner, mode)
    make(hostile / "logs", owner=FIRST)
    done = check(folder, hostile / "logs", EVERY_USER)
    assert done.returncode == 78, reason
    assert f"[pyfpm] error_log: open log in {hostile}/logs: others can write there" in done.stderr


def test_log_in_an_unknown_users_folder_in_tmp_is_refused(folder):
    """Anybody on the machine around may have made it there."""
    with temporary_folder() as unknown:
        make(unknown / "logs", owner=FIRST)
        done = check(folder, unknown / "logs", EVERY_USER)
        assert done.returncode == 78
        assert f"error_log: open log in {unknown}/logs: others can write there" in done.stderr


POOLS = """
[pool:one]
app = torture:app
listen = %(here)s/one.sock
access.log = %(here)s/one.log

[pool:two]
app = torture:app
listen = %(here)s/two.sock
user = nobody
"""


def test_two_pools_of_two_users_serve_and_the_logs_are_files():
    """All of it as with root outside: users are changed, logs written, sockets given away."""
    with Pyfpm(
        POOLS,
        main="error_log = %(here)s/e.log",
        launcher=launcher(EVERY_USER),
        prepare=lambda folder: os.chown(folder, FIRST, FIRST),
        wait_ready=False,
    ) as fpm:
        for name, user in (("one", POOL_USER), ("two", "nobody")):
            wait_until((fpm.folder / f"{name}.sock").exists)
            wait_until(lambda name=name: fetch(fpm.address(f"{name}.sock"), "/pid").status == 200)
            pid = int(fetch(fpm.address(f"{name}.sock"), "/pid").body)
            uid = FIRST + pwd.getpwnam(user).pw_uid
            assert process_fields(pid)["Uid"].split() == [str(uid)] * 4
        log = fpm.folder / "one.log"
        wait_until(lambda: re.search(r"GET /pid", log.read_text()))
        errors = fpm.folder / "e.log"
        wait_until(lambda: "ready to handle connections" in errors.read_text())


def test_user_that_the_namespace_does_not_know_is_named(folder):
    """The kernel says only that something is invalid, or not permitted."""
    done = check(folder, folder, ONLY_ROOT, keys=f"user = {POOL_USER}")
    assert done.returncode == 78
    assert f"[pool:x] user: {POOL_USER}: Invalid argument: this user namespace does" in done.stderr
    assert check(folder, folder, EVERY_USER, keys=f"user = {POOL_USER}").returncode == 0


def test_capabilities_that_a_change_of_the_user_takes_are_named(folder):
    """A container without them cannot have pools of other users; one of root's own needs none."""
    for capability, reason in (
        ("setgid", "Operation not permitted: the master needs CAP_SETUID and CAP_SETGID"),
        ("kill", "the master needs CAP_KILL, to end processes of another user"),
    ):
        without = ["setpriv", f"--bounding-set=-{capability}"]
        done = check(folder, folder, EVERY_USER, keys="user = nobody", words=without)
        assert done.returncode == 78
        assert f"[pool:x] user: nobody: {reason}" in done.stderr
        assert check(folder, folder, EVERY_USER, words=without).returncode == 0
    assert check(folder, folder, EVERY_USER, keys="user = nobody").returncode == 0
