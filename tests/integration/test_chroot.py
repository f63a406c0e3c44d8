"""Pools whose root folder is another one: what works in it, and that nothing leads out of it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from harness.fcgi_client import fetch
from harness.machine import REPOSITORY, needs_sandbox, temporary_folder
from harness.master import Pyfpm, environment
from harness.posts import Posts

SYSTEM_PYTHON = "/usr/bin/python3"
# A complete root out of the machine's own /usr, in a mount namespace that goes with the master.
MOUNT = """\
set -e
for word; do case "$word" in *.conf) root=$(dirname "$word")/root; esac; done
if [ -d "$root/usr" ]; then mount --bind /usr "$root/usr"; fi
mount -t proc -o hidepid=2 proc "$root/proc"
exec "$@"
"""

JAILED = """\
import json, os

def attempt(action):
    try:
        return action()
    except OSError as error:
        return error.strerror

def read(path, folder=None):
    descriptor = os.open(path, os.O_RDONLY, dir_fd=folder)
    with os.fdopen(descriptor) as file:
        return file.read()

def look():
    up = "../" * 20
    ways = {}
    outside = OUTSIDE
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        ways[f"openat {fd}"] = attempt(lambda: read(up + outside[1:], fd))
        ways[f"proc {fd}"] = attempt(lambda: read(f"/proc/self/fd/{fd}/{up}{outside[1:]}"))
        ways[f"beside {fd}"] = attempt(lambda: read("../root-only-in-name/beside", fd))
    ways["cwd"] = attempt(lambda: read(up + outside[1:]))
    ways["absolute"] = attempt(lambda: read(outside))
    ways["proc root"] = attempt(lambda: read(f"/proc/{os.getppid()}/root{outside}"))
    return {"ways": ways, "root": sorted(os.listdir("/")), "cwd": os.getcwd(), "uid": os.getuid()}

ZYGOTE = look()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([ZYGOTE, look()]).encode()]
"""

POOLS = """
[pool:jailed]
app = jailed:app
listen = %(here)s/jailed.sock
pm = static
pm.max_children = 1
preload = on
chroot = %(here)s/root
directory = /srv
python = /usr/bin/python3

[pool:free]
app = jailed:app
listen = %(here)s/free.sock
pm = static
pm.max_children = 1
preload = on
directory = %(here)s/root/srv
python = /usr/bin/python3
"""

JAILED_POOL = POOLS.partition("\n[pool:free]")[0]

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture(autouse=True)
def system():
    """A machine on which one /usr holds everything that a process needs, and mounts can be made."""
    if not os.path.islink("/lib") or not os.access(SYSTEM_PYTHON, os.X_OK):
        pytest.skip("no merged /usr with a python3 here")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mounts can be made here (CAP_SYS_ADMIN)")


def make_root(folder):
    root = folder / "root"
    for name in ("usr", "proc", "srv", "etc", "tmp"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(f"usr/{name}")
    outside = folder / "outside"
    outside.write_text("outside")
    outside.chmod(0o644)
    (root / "srv" / "jailed.py").write_text(JAILED.replace("OUTSIDE", repr(str(outside))))


def launcher(*more):
    return ["unshare", "-m", "sh", "-c", MOUNT, "sh", *more]


def ask(fpm, pool):
    return json.loads(fetch(fpm.address(f"{pool}.sock"), "/").body)


def test_pool_in_a_root_of_its_own_serves_and_finds_no_way_out():
    """No descriptor leads out, by openat or by /proc; without chroot the same attempts succeed."""
    with Pyfpm(POOLS, prepare=make_root, launcher=launcher()) as fpm:
        for found in ask(fpm, "jailed"):
            assert found["cwd"] == "/srv"
            assert found["root"] == ["bin", "etc", "lib", "lib64", "proc", "srv", "tmp", "usr"]
            assert found["uid"] != 0
            assert not [way for way, said in found["ways"].items() if said == "outside"]
        for found in ask(fpm, "free"):
            ways = {way for way, said in found["ways"].items() if said == "outside"}
            assert {"cwd", "absolute"} <= ways
        assert fpm.command("restart", "jailed").returncode == 0
        assert ask(fpm, "jailed")[1]["cwd"] == "/srv"


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("sys_admin", "in a way that leads out again: a chroot takes CAP_SYS_ADMIN beside"),
        ("sys_chroot", "Operation not permitted: the master needs CAP_SYS_CHROOT for that"),
    ],
)
def test_pool_is_not_started_where_its_root_could_be_left_or_not_be_changed(missing, said):
    """Without CAP_SYS_ADMIN the runtime can only be passed in a way that leads out: refused."""
    without = launcher("setpriv", f"--bounding-set=-{missing}")
    with Pyfpm(POOLS, prepare=make_root, launcher=without) as fpm:
        assert fpm.log.find(rf"pool jailed\] boot failed.*: chroot = .* {said}")
        assert ask(fpm, "free")[1]["uid"] != 0


def test_the_unit_for_systemd_and_its_file_for_chroot_have_the_capabilities_that_it_takes():
    """And none that is missed; the unit alone has fewer, as the test before this one shows."""
    folder = REPOSITORY / "deploy" / "systemd"
    text = (folder / "pyfpm.service").read_text() + (folder / "chroot.conf").read_text()
    named = re.findall(r"^CapabilityBoundingSet=(.*)$", text, re.MULTILINE)
    assert len(named) == 2
    kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in " ".join(named).split())
    having = launcher("setpriv", f"--bounding-set=-all,{kept}", "--no-new-privs")
    with Pyfpm(POOLS, prepare=make_root, launcher=having) as fpm:
        assert ask(fpm, "jailed")[1]["cwd"] == "/srv"


def test_root_folder_changes_with_a_reload_under_load_and_one_that_is_gone_changes_nothing():
    """In, back out, and in again; no request fails, and none is answered from a third place."""
    free = "[pool:free]" + POOLS.partition("[pool:free]")[2]
    jailed = free.replace("directory = %(here)s/root/srv", "chroot = %(here)s/root\ndirectory=/srv")
    with Pyfpm(free, prepare=make_root, launcher=launcher()) as fpm:
        outside = fpm.config.read_text()
        inside = outside.replace(free, jailed)
        assert inside != outside
        for text, folder in (
            (inside, "/srv"),
            (outside, f"{fpm.folder}/root/srv"),
            (inside, "/srv"),
        ):
            fpm.config.write_text(text)
            with Posts(fpm.address("free.sock")) as kept:
                done = fpm.command("reload", "free")
            assert (done.returncode, kept.failures) == (0, []), done.stderr
            assert {one["cwd"] for one in ask(fpm, "free")} == {folder}
        (fpm.folder / "root").rename(fpm.folder / "gone")
        with Posts(fpm.address("free.sock")) as kept:
            done = fpm.command("reload", "free")
        assert (done.returncode, kept.failures) == (1, [])
        assert f"chroot: {fpm.folder}/root does not exist" in done.stderr
        assert ask(fpm, "free")[1]["cwd"] == "/srv"
        (fpm.folder / "gone").rename(fpm.folder / "root")
        assert fpm.command("reload", "free").returncode == 0


BOXED = """\
import json, os, tempfile
def attempt(action):
    try:
        return action()
    except OSError as error:
        return error.strerror
def app(environ, start_response):
    start_response("200 OK", [])
    with tempfile.NamedTemporaryFile() as file:
        name = file.name
    return [json.dumps([
        attempt(lambda: open("/etc/public").read()), name, os.path.isdir(os.path.dirname(name)),
        attempt(lambda: os.listdir("/")), os.getcwd(),
    ]).encode()]
"""


@needs_sandbox
def test_sandbox_in_a_root_of_its_own_is_that_of_the_root():
    """Built-in places, lists and the temporary folder are looked up inside, no more is open."""

    def prepare(folder):
        make_root(folder)
        (folder / "root" / "tmp").chmod(0o1777)
        (folder / "root" / "srv" / "jailed.py").write_text(BOXED)
        (folder / "root" / "etc" / "public").write_text("inside")

    closed = "Permission denied"
    with Pyfpm(JAILED_POOL + "sandbox = on\n", prepare=prepare, launcher=launcher()) as fpm:
        text, temporary, has_folder, listing, cwd = ask(fpm, "jailed")
        assert (text, has_folder, listing, cwd) == (closed, True, closed, "/srv")
        assert temporary.startswith("/tmp/pyfpm-")
        inside = fpm.folder / "root" / os.path.dirname(temporary)[1:]
        assert inside.is_dir()
        fpm.config.write_text(fpm.config.read_text() + "sandbox.read = /etc/public\n")
        assert fpm.command("reload").returncode == 0
        assert ask(fpm, "jailed")[0] == "inside"
    assert not inside.exists()


def check(folder, text, *, mounted=True):
    """`pyfpm check` for a pool with the root of the tests."""
    config = folder / "pyfpm.conf"
    config.write_text(f"[pyfpm]\ncontrol = {folder}/c.sock\n{text}\nuser = nobody\n")
    words = [sys.executable, "-m", "pyfpm", "-c", str(config), "check"]
    return subprocess.run(
        [*(launcher() if mounted else []), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
        cwd="/",
    )


def test_check_of_a_complete_root_is_content_and_names_what_applications_may_miss():
    """The interpreter runs inside, imports pyfpm, and nothing of the pool's code is executed."""
    with temporary_folder() as folder:
        make_root(folder)
        (folder / "root/srv/jailed.py").write_text("open('/tmp/ran', 'w')")
        (folder / "root/tmp").chmod(0o777)
        done = check(folder, JAILED_POOL)
        assert done.returncode == 0, done.stderr
        assert "[pool:jailed] chroot: has no /dev/null, /dev/urandom, /etc/hosts," in done.stderr
        assert not (folder / "root/tmp/ran").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "directory = /srv",
            "directory = /var/www",
            "directory: there is no folder /var/www inside the root folder {root}; with",
        ),
        (
            "directory = /srv",
            "directory = srv",
            "directory: 'srv' is relative; with chroot, write the path from /",
        ),
        (
            "python = /usr/bin/python3",
            "python = /opt/python",
            "python: there is no interpreter /opt/python inside the root folder {root};",
        ),
        ("chroot = %(here)s/root", "chroot = /no/such", "chroot: /no/such does not exist;"),
        (
            "python = /usr/bin/python3",
            "python = /usr/bin/true",
            "does not run as a Python interpreter inside the root folder {root}",
        ),
        (
            "directory = /srv",
            "directory = /srv\nsandbox.read = /srv /none",
            "sandbox.read: /none does not exist inside the root folder {root}; create it or leave",
        ),
    ],
)
def test_check_says_what_is_wrong_inside(old, new, said):
    """Paths are looked at as the pool will see them."""
    with temporary_folder() as folder:
        make_root(folder)
        done = check(folder, JAILED_POOL.replace(old, new))
        assert done.returncode == 78
        assert said.format(root=folder / "root") in done.stderr


def test_check_says_that_proc_is_missing():
    """pyfpm's own code comes in through it."""
    with temporary_folder() as folder:
        make_root(folder)
        done = check(folder, JAILED_POOL, mounted=False)
        assert done.returncode == 78
        assert "chroot: there is no /proc in it, through which" in done.stderr
        assert f"mount -t proc proc {folder}/root/proc" in done.stderr


def test_check_says_which_library_is_missing():
    """A root that was put together by hand lacks one before long: ld.so names it."""
    with temporary_folder() as folder:
        make_root(folder)
        root = folder / "root"
        for name in ("bin", "lib", "lib64"):
            (root / name).unlink(missing_ok=True)
        (root / "usr").rmdir()
        (root / "python").mkdir()
        shutil.copy(os.path.realpath(SYSTEM_PYTHON), root / "python" / "python3")
        loader = subprocess.run(
            ["ldd", SYSTEM_PYTHON], capture_output=True, text=True, check=True
        ).stdout
        paths = [word for word in loader.split() if word.startswith("/")]
        interpreter = next(path for path in paths if "ld-" in path)
        target = root / interpreter[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        pool = JAILED_POOL.replace("/usr/bin/python3", "/python/python3")
        done = check(folder, pool)
        assert "not the file itself, but the loader that it names" in done.stderr
        shutil.copy(interpreter, target)
        done = check(folder, pool)
        assert done.returncode == 78
        assert "cannot open shared object file" in done.stderr
