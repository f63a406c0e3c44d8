"""Walls between tenants: what a worker tries on another pool's processes, files and sockets.

Four pools: `alice` and `open` belong to one user, `open` with process.dumpable = yes; `twin` is
another pool of that user, `mallory` one of another. Where mallory is refused, twin gets through
to `open`, so that what refuses mallory is the user and not a mistake in the attempt; where twin is
refused at `alice`, that is what process.dumpable = no buys.
"""

import json
import os
import pwd
from pathlib import Path
from urllib.parse import quote

import pytest
from harness.fcgi_client import fetch
from harness.machine import IS_ROOT
from harness.master import Pyfpm
from harness.processes import (
    CAP_SYS_ADMIN,
    CAP_SYS_PTRACE,
    descriptor_links,
    has_capability,
)
from walls import APPLICATION

POOL = """
[pool:{name}]
app = wall:app
listen = %(here)s/{name}.sock
pm = static
pm.max_children = 1
preload = on
user = {user}
environment = POOL="{name}",TOKEN="secret-of-{name}"
access.log = %(here)s/{name}.access
{more}
"""
POOLS = "".join(
    POOL.format(name=name, user=user, more=more)
    for name, user, more in (
        ("alice", "www-data", ""),
        ("open", "www-data", "process.dumpable = yes"),
        ("twin", "www-data", ""),
        ("mallory", "games", ""),
    )
)

pytestmark = pytest.mark.usefixtures("as_root")

# What a process may do to another one of the same user only where that one is dumpable. For those
# of the second row Yama has a word too, where it is in the kernel.
OF_DUMPABLE = ["environ", "maps", "cwd", "root", "descriptors", "scoreboard", "notice"]
OF_TRACERS = [
    "memory",
    "memory written",
    "process_vm_readv",
    "ptrace",
    "listener",
    "scoreboard stolen",
]
# What the user alone decides.
OF_USER = ["kill", "pidfd_send_signal", "prlimit", "affinity"]
EXPECTED = {
    "environ": "TOKEN=secret-of-open",
    "memory": "memory-of-open",
    "process_vm_readv": "memory-of-open",
    "scoreboard": "pyfpm-board-open",
    "scoreboard stolen": "pyfpm-board-open",
    "notice": "pyfpm-notice-open",
    "listener": "socket:",
}
REFUSED = ({"refused": "EACCES"}, {"refused": "EPERM"})


def prepare(folder):
    for name in ("www-data", "games"):
        home = folder / f"home-{name}"
        home.mkdir(mode=0o700)
        (home / "secret").write_text(f"file-of-{name}")
        user = pwd.getpwnam(name)
        for path in (home, home / "secret"):
            os.chown(path, user.pw_uid, user.pw_gid)


@pytest.fixture(scope="module")
def fpm():
    if not IS_ROOT:
        pytest.skip("changing the user needs root")
    with Pyfpm(
        POOLS,
        files={"wall.py": APPLICATION},
        prepare=prepare,
        environ={"MASTERS_SECRET": "of-the-master"},
        main="error_log = master.log",
        wait_ready=False,
    ) as running:
        running.log.wait_for("ready to handle connections", timeout_s=30)
        yield running


def attempt(fpm, attacker, name, **what):
    """What `attacker` got, or the errno."""
    words = quote(json.dumps({"name": name, **what}))
    return json.loads(fetch(fpm.address(f"{attacker}.sock"), f"/try?do={words}").body)


def target(fpm, pool, process):
    """The pid of a pool's worker or zygote, and where its secret lies: the fork keeps addresses."""
    about = json.loads(fetch(fpm.address(f"{pool}.sock"), "/about").body)
    if process == "zygote":
        about["pid"] = fpm.zygote_pid(pool)
    return about


def yama():
    path = Path("/proc/sys/kernel/yama/ptrace_scope")
    return int(path.read_text(encoding="ascii")) if path.exists() else 0


PROCESSES = pytest.mark.parametrize("process", ["worker", "zygote"])


@PROCESSES
@pytest.mark.parametrize("name", [*OF_DUMPABLE, *OF_TRACERS, *OF_USER])
def test_another_user_is_refused_even_where_the_target_is_dumpable(fpm, name, process):
    """Environment, memory, scoreboard, descriptors, signals: the user is the wall."""
    for pool in ("open", "alice"):
        assert attempt(fpm, "mallory", name, **target(fpm, pool, process)) in REFUSED


@PROCESSES
@pytest.mark.parametrize("name", [*OF_DUMPABLE, *OF_TRACERS])
def test_same_user_gets_through_to_a_dumpable_pool(fpm, name, process):
    """The twin of the test above and of the one below: each attempt works where it may."""
    about = target(fpm, "open", process)
    if name in OF_TRACERS and (yama() or attempt(fpm, "open", name, **about) in REFUSED):
        pytest.skip("this machine forbids it to everybody, by Yama or seccomp")
    found = attempt(fpm, "twin", name, **about)
    assert EXPECTED.get(name, "") in found["got"]


@PROCESSES
@pytest.mark.parametrize("name", [*OF_DUMPABLE, *OF_TRACERS])
def test_same_user_is_refused_by_a_pool_that_is_not_dumpable(fpm, name, process):
    """What process.dumpable = no, the default, buys between two pools of one user."""
    assert attempt(fpm, "twin", name, **target(fpm, "alice", process)) in REFUSED


@PROCESSES
@pytest.mark.parametrize("name", OF_USER)
def test_same_user_may_signal_whether_dumpable_or_not(fpm, name, process):
    """What it does not buy: tenants that do not trust each other need users of their own."""
    for pool in ("open", "alice"):
        assert "got" in attempt(fpm, "twin", name, **target(fpm, pool, process))


def test_process_that_is_not_dumpable_still_reads_and_lists_what_is_its_own(fpm):
    """The kernel asks who owns /proc/PID only of others: descriptors and maps are there."""
    about = target(fpm, "alice", "worker")
    for name in ("maps", "cwd", "descriptors", "scoreboard"):
        assert "got" in attempt(fpm, "alice", name, **about)


@pytest.mark.parametrize("name", [*OF_DUMPABLE, *OF_TRACERS, *OF_USER])
@pytest.mark.parametrize("attacker", ["mallory", "twin"])
def test_the_master_is_out_of_reach(fpm, name, attacker):
    """Its environment, memory, descriptors; and nobody but root signals it."""
    pid = fpm.process.pid
    assert attempt(fpm, attacker, name, pid=pid, address=0) in REFUSED
    if name == "environ":  # as root it can be read
        assert b"MASTERS_SECRET=of-the-master" in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize(
    ("name", "path"), [("read", "/secret"), ("list", ""), ("write", "/secret")]
)
def test_files_in_a_private_home_are_the_users_own(fpm, name, path):
    """0700 homes: refused to the other tenant, open to every pool of the user."""
    alices = str(fpm.folder / "home-www-data") + path
    mallorys = str(fpm.folder / "home-games") + path
    assert attempt(fpm, "mallory", name, path=alices) in REFUSED
    assert attempt(fpm, "alice", name, path=mallorys) in REFUSED
    assert "got" in attempt(fpm, "alice", name, path=alices)
    assert "got" in attempt(fpm, "mallory", name, path=mallorys)


def test_listening_socket_admits_its_own_user_alone(fpm):
    """0660 with the pool's user and group: who connects runs any request as that pool."""
    assert attempt(fpm, "mallory", "connect", path=str(fpm.folder / "alice.sock")) in REFUSED
    assert attempt(fpm, "alice", "connect", path=str(fpm.folder / "mallory.sock")) in REFUSED
    assert attempt(fpm, "twin", "connect", path=str(fpm.folder / "alice.sock")) == {
        "got": "connected"
    }


@pytest.mark.parametrize("attacker", ["mallory", "alice"])
def test_listening_socket_cannot_be_replaced_by_a_pool(fpm, attacker):
    """Its folder is root's: not even the pool that owns the socket puts another in its place."""
    path = fpm.folder / "alice.sock"
    before = path.stat()
    assert attempt(fpm, attacker, "replace", path=str(path)) in REFUSED
    assert path.stat().st_ino == before.st_ino


@pytest.mark.parametrize("attacker", ["mallory", "alice"])
def test_control_socket_is_closed_to_every_pool(fpm, attacker):
    """Only root reaches it, who does so here."""
    path = str(fpm.folder / "control.sock")
    assert attempt(fpm, attacker, "connect", path=path) in REFUSED
    assert fpm.control("status")["pyfpm"]["pid"] == fpm.process.pid


@pytest.mark.parametrize("name", ["read", "write"])
@pytest.mark.parametrize("attacker", ["mallory", "alice"])
@pytest.mark.parametrize("log", ["alice.access", "master.log"])
def test_log_files_are_the_masters(fpm, attacker, log, name):
    """Workers have the access log as a descriptor to append to, and no way to open it again."""
    path = fpm.folder / log
    assert attempt(fpm, attacker, name, path=str(path)) in REFUSED
    path.read_bytes()  # root may


def test_access_log_cannot_be_opened_to_be_read_through_its_descriptor(fpm):
    """The descriptor that a worker holds opens only what its file's mode allows."""
    if not has_capability(CAP_SYS_PTRACE):
        pytest.skip("root may not look into processes of others here (CAP_SYS_PTRACE)")
    pid = target(fpm, "alice", "worker")["pid"]
    links = descriptor_links(pid)
    numbers = [number for number, link in links.items() if link.endswith("alice.access")]
    assert numbers
    for number in numbers:
        path = f"/proc/self/fd/{number}"
        assert attempt(fpm, "alice", "read", path=path) in REFUSED


def test_worker_holds_no_memory_of_another_pool(fpm):
    """Board, notice and boot document of its own pool, and nobody else's."""
    if not has_capability(CAP_SYS_PTRACE):
        pytest.skip("root may not look into processes of others here (CAP_SYS_PTRACE)")
    for pool in ("alice", "open", "twin", "mallory"):
        for process in ("worker", "zygote"):
            pid = target(fpm, pool, process)["pid"]
            links = descriptor_links(pid).values()
            found = {link.partition(" ")[0] for link in links if link.startswith("/memfd:")}
            assert found == {f"/memfd:pyfpm-board-{pool}", f"/memfd:pyfpm-notice-{pool}"}


def test_nothing_beside_the_package_is_reached_through_its_descriptor(fpm):
    """Descriptor 5 is the folder of pyfpm itself: `..` of it is that folder again.

    What lies beside could be a private checkout, below a folder that the user cannot enter.
    """
    if not has_capability(CAP_SYS_ADMIN):
        pytest.skip("no mounts can be made here (CAP_SYS_ADMIN)")
    inside = attempt(fpm, "mallory", "list", path="/proc/self/fd/5")["got"].split()
    assert "runtime" in inside
    above = attempt(fpm, "mallory", "list", path="/proc/self/fd/5/..")
    assert above == {"got": " ".join(inside)}
    assert "runtime" not in os.listdir(Path(__file__).parents[2])


def test_master_maps_no_module_of_an_application(fpm):
    """What the application imports is mapped in its worker, and never in the master."""
    if not has_capability(CAP_SYS_PTRACE):
        pytest.skip("root may not look into processes of others here (CAP_SYS_PTRACE)")
    worker = target(fpm, "alice", "worker")["pid"]
    assert "_sqlite3" in Path(f"/proc/{worker}/maps").read_text()
    mapped = Path(f"/proc/{fpm.process.pid}/maps").read_text()
    assert "_sqlite3" not in mapped
    assert str(fpm.folder) not in mapped
