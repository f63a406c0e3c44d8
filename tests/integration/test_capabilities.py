"""A master that is root without all of root's power is told what it needs, before it misses it."""

import os
import shutil
import subprocess

import pytest
from harness.fcgi_client import fetch
from harness.machine import POOL_USER
from harness.master import Pyfpm
from harness.processes import CAP_SYS_NICE, CAP_SYS_PTRACE, has_capability

from pyfpm.kernel.prctl import has_no_new_privs

pytestmark = pytest.mark.usefixtures("as_root")

POOL = """
[pool:shop]
app = torture:app
listen = %(here)s/shop.sock
"""
NEEDED = ("chown", "fowner", "setuid", "setgid", "kill")


@pytest.fixture(autouse=True)
def setpriv():
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv here")


def having(*names):
    """Words before a command that leave it these capabilities and no other."""
    kept = "".join(f",+{name}" for name in names)
    return ["setpriv", f"--bounding-set=-all{kept}"]


def test_five_capabilities_are_enough_for_pools_of_other_users():
    """What the documents tell an operator to add after `--cap-drop ALL`."""
    with Pyfpm(POOL, launcher=having(*NEEDED)) as fpm:
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
        assert fpm.command("restart", "shop").returncode == 0
        assert fpm.pool_status("shop")["state"] == "running"


@pytest.mark.parametrize(
    ("missing", "code", "said"),
    [
        ("chown", 78, "change its owner or group: Operation not permitted: that takes CAP_CHOWN"),
        ("fowner", 78, "change its mode: Operation not permitted: that takes CAP_FOWNER"),
        ("setuid", 1, f"become {POOL_USER}: Operation not permitted: the master needs CAP_SETUID"),
        ("setgid", 1, f"become {POOL_USER}: Operation not permitted: the master needs CAP_SETUID"),
        ("kill", 1, f"become {POOL_USER}: the master needs CAP_KILL, to end processes of another"),
    ],
)
def test_one_that_is_missing_is_named_at_the_start(missing, code, said):
    """Not by the first request that hangs."""
    with Pyfpm(
        POOL, launcher=having(*(x for x in NEEDED if x != missing)), wait_ready=False
    ) as fpm:
        assert fpm.process.wait(30) == code
        fpm.log.wait_for_end()
        assert said in fpm.log.text()


def test_nice_value_below_the_masters_names_its_capability():
    """The kernel says only that permission is denied; another pool is not concerned."""
    other = POOL.replace("shop", "other")
    with Pyfpm(POOL + "process.priority = -5\n" + other, launcher=having(*NEEDED)) as fpm:
        said = "process.priority = -5: Permission denied: the master needs CAP_SYS_NICE for that"
        assert fpm.log.find(rf"\[pool shop\] boot failed.*{said}")
        assert fetch(fpm.address("other.sock"), "/pid").status == 200
        done = fpm.command("check")  # which has the capability itself, where the tests have it
        assert done.returncode == (0 if has_capability(CAP_SYS_NICE) else 78)


def test_no_new_privs_of_the_master_itself_is_told_where_a_pool_would_go_without():
    """Systemd and containers set it for everything below them; without it there is no notice."""
    pool = POOL + "no_new_privs = no\n"
    said = r"NOTICE: .*\[pool:shop\] no_new_privs: has no effect, since the master itself"
    for more, told in ((["--no-new-privs"], True), ([], False)):
        with Pyfpm(pool, launcher=["setpriv", "--bounding-set=-syslog", *more]) as fpm:
            assert bool(fpm.log.find(said)) is (told or has_no_new_privs())


def hiding(*more):
    """A /proc in which processes of others are seen by a group alone that nobody is in."""
    mounted = 'mount -t proc -o hidepid=2,gid=43210 proc /proc; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mounted, "sh", *more]


def test_hidden_processes_are_watched_with_the_capability_that_shows_them():
    """Their user is verified, their memory measured; without it their pool is refused and told."""
    if subprocess.run(hiding("true"), capture_output=True, check=False).returncode:
        pytest.skip("no mounts can be made here (CAP_SYS_ADMIN)")
    pool = POOL + "pm = static\npm.max_children = 1\n"
    if has_capability(CAP_SYS_PTRACE):
        with Pyfpm(pool, launcher=hiding(*having(*NEEDED, "sys_ptrace"))) as fpm:
            assert fetch(fpm.address("shop.sock"), "/pid").status == 200
            fpm.wait_accepted("shop", 1)
            (process,) = fpm.pool_status("shop", full=True)["processes"]
            assert process["last request memory"] > 1 << 20
    with Pyfpm(pool, launcher=hiding(*having(*NEEDED)), wait_ready=False) as fpm:
        assert fpm.process.wait(30) == 1
        fpm.log.wait_for_end()
        said = (
            r"zygote \d+: /proc hides whose it is \(it is mounted with hidepid\): give the master"
        )
        assert fpm.log.find(rf"\[pool shop\] boot failed, .*{said}")


def test_pools_of_root_itself_need_none_of_them():
    """With -R nothing is given away, and everybody may end processes of one's own."""
    with Pyfpm(POOL, defaults="user =", arguments=["-R"], launcher=having()) as fpm:
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
        assert os.stat(fpm.folder / "shop.sock").st_uid == 0
