"""Who a pool's processes are: two users under one root master, and what never runs as root."""

import grp
import json
import os
import pwd
import stat
import subprocess
import sys

import pytest
from harness.fcgi_client import fetch
from harness.machine import make_venv, temporary_folder
from harness.master import Pyfpm
from harness.processes import (
    CAP_SYS_PTRACE,
    children_of,
    descriptor_links,
    has_capability,
    process_fields,
    title_of,
)

pytestmark = pytest.mark.usefixtures("as_root")

POOLS = """
[pool:web]
app = marked:app
listen = %(here)s/web.sock
pm = static
pm.max_children = 1
user = www-data
group = games
extra_groups = audio, video
umask = 0027
environment = A="one, two",PERCENT="100%%"
env[B] = $pool
python = %(here)s/venv

[pool:other]
app = torture:app
listen = %(here)s/other.sock
listen.owner = www-data
listen.group = audio
listen.mode = 0600
pm = static
pm.max_children = 1
user = nobody
no_new_privs = no
clear_env = no
"""

# An application that leaves a trace of every process that imports it.
MARKED = """\
import os
with open(os.path.join(os.path.dirname(__file__), "..", "trace", "imports"), "a") as trace:
    trace.write(f"{os.getpid()} {os.getuid()}\\n")
from torture import app
"""

# Python runs the `import` lines of .pth files before anything else of the interpreter's user.
PTH = (
    "import os; trace = open({path!r}, 'a');"
    " trace.write(f'{{os.getpid()}} {{os.getuid()}} {{os.geteuid()}} {{os.getgid()}}\\n');"
    " trace.close()\n"
)


def prepare(folder):
    trace = folder / "trace"
    trace.mkdir()
    trace.chmod(0o777)
    venv = make_venv(folder / "venv")
    site = next(venv.glob("lib/python3*/site-packages"))
    (site / "trace.pth").write_text(PTH.format(path=str(trace / "pth")))


@pytest.fixture(scope="module")
def fpm():
    if os.getuid() != 0:
        pytest.skip("changing the user needs root")
    with Pyfpm(
        POOLS,
        files={"marked.py": MARKED},
        prepare=prepare,
        environ={"SECRET_OF_THE_MASTER": "1"},
    ) as running:
        yield running


def identity_of(fpm, pool):
    return json.loads(fetch(fpm.address(f"{pool}.sock"), "/identity").body)


def read_trace(fpm, name):
    """Return the recorded numbers of every process, one tuple for each."""
    return [tuple(map(int, line.split())) for line in (fpm.folder / "trace" / name).open()]


def test_two_pools_of_two_users_run_as_their_users(fpm):
    """Real, effective and saved ids are the pool's own, with group and extra groups."""
    web, other = identity_of(fpm, "web"), identity_of(fpm, "other")
    www_data, nobody = pwd.getpwnam("www-data"), pwd.getpwnam("nobody")
    games = grp.getgrnam("games").gr_gid
    assert web["uids"] == [www_data.pw_uid] * 3
    assert web["gids"] == [games] * 3
    assert {"games", "audio", "video"} <= set(web["group_names"])
    assert 0 not in web["groups"]
    assert other["uids"] == [nobody.pw_uid] * 3
    assert other["gids"] == [nobody.pw_gid] * 3
    assert other["groups"] == [nobody.pw_gid]
    assert web["capabilities"] == other["capabilities"] == "0" * 16


def test_pool_with_its_own_user_has_no_zygote_of_root(fpm):
    """Every process below the master runs as its pool's user, zygotes too."""
    uids = {title_of(pid): process_fields(pid)["Uid"] for pid in children_of(fpm.process.pid)}
    www_data, nobody = pwd.getpwnam("www-data").pw_uid, pwd.getpwnam("nobody").pw_uid
    assert uids == {
        "pyfpm: pool web zygote": "\t".join([str(www_data)] * 4),
        "pyfpm: pool web worker 0": "\t".join([str(www_data)] * 4),
        "pyfpm: pool other zygote": "\t".join([str(nobody)] * 4),
        "pyfpm: pool other worker 0": "\t".join([str(nobody)] * 4),
    }


def test_umask_and_no_new_privs_are_applied_where_set(fpm):
    """Umask from the pool, NoNewPrivs unless the pool says no."""
    assert identity_of(fpm, "web")["umask"] == 0o027
    assert identity_of(fpm, "web")["no_new_privs"] == "1"
    assert identity_of(fpm, "other")["no_new_privs"] == "0"


def test_environment_is_cleared_and_filled_with_the_users_own(fpm):
    """Nothing of the master's environment, the user's HOME and names, and what the pool sets."""
    env = identity_of(fpm, "web")["env"]
    assert "SECRET_OF_THE_MASTER" not in env
    assert "PYTHONPATH" not in env
    www_data = pwd.getpwnam("www-data")
    assert (env["USER"], env["LOGNAME"], env["HOME"]) == ("www-data", "www-data", www_data.pw_dir)
    assert env["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert (env["A"], env["PERCENT"], env["B"]) == ("one, two", "100%", "web")


def test_environment_is_kept_where_the_pool_wants_it(fpm):
    """clear_env = no passes the master's environment on, but never its user's name."""
    env = identity_of(fpm, "other")["env"]
    assert env["SECRET_OF_THE_MASTER"] == "1"
    assert (env["USER"], env["LOGNAME"]) == ("nobody", "nobody")


@pytest.mark.parametrize(
    ("pool", "owner", "group", "mode"),
    [("web", "www-data", "games", 0o660), ("other", "www-data", "audio", 0o600)],
)
def test_socket_has_the_owner_group_and_mode_of_its_pool(fpm, pool, owner, group, mode):
    """The pool's user and group own the socket, unless listen.owner and listen.group say else."""
    found = (fpm.folder / f"{pool}.sock").stat()
    assert pwd.getpwuid(found.st_uid).pw_name == owner
    assert grp.getgrgid(found.st_gid).gr_name == group
    assert stat.S_IMODE(found.st_mode) == mode


def test_pth_file_in_a_pools_venv_never_runs_as_root(fpm):
    """The venv's own start-up code runs only when root is gone for good."""
    runs = read_trace(fpm, "pth")
    www_data, games = pwd.getpwnam("www-data").pw_uid, grp.getgrnam("games").gr_gid
    assert {run[1:] for run in runs} == {(www_data, www_data, games)}
    assert fpm.process.pid not in {run[0] for run in runs}


def test_check_as_root_runs_no_code_of_the_venv(fpm):
    """`pyfpm check` tries the interpreter as the pool's user, without the venv's start-up code."""
    before = read_trace(fpm, "pth")
    done = fpm.command("check")
    assert done.returncode == 0, done.stderr
    assert read_trace(fpm, "pth") == before


def test_master_never_imports_the_application(fpm):
    """Only the zygote imports it, once for all workers; nothing of it is mapped in the master."""
    identity = identity_of(fpm, "web")
    imports = read_trace(fpm, "imports")
    assert imports == [(fpm.zygote_pid("web"), pwd.getpwnam("www-data").pw_uid)]
    assert identity["pid"] not in {pid for pid, _ in imports}
    with open(f"/proc/{fpm.process.pid}/maps", encoding="utf-8") as maps:
        assert str(fpm.folder) not in maps.read()


def test_worker_has_no_descriptor_of_the_master_or_of_another_pool(fpm):
    """A worker holds its own listener, channel and control socket, and nothing else's."""
    if not has_capability(CAP_SYS_PTRACE):
        pytest.skip("root may not look into processes of others here (CAP_SYS_PTRACE)")
    with open("/proc/net/unix", encoding="utf-8") as table:
        rows = [line.split() for line in table]
    # Listening ones alone: a connection that is just being closed has its listener's path.
    rows = [row for row in rows if row[3] == "00010000"]
    sockets = {row[6]: row[7] for row in rows if row[-1].startswith(str(fpm.folder))}
    worker = identity_of(fpm, "web")["pid"]
    held = set(descriptor_links(worker).values())
    assert len(sockets) == 3  # two pools, and the control socket
    ours = {sockets.get(text[8:-1]) for text in held if text.startswith("socket:[")}
    assert ours == {str(fpm.folder / "web.sock"), None}


def test_user_by_number_without_an_entry_is_refused_with_the_line():
    """A number that no user has is reported like an unknown name, before anything starts."""
    with temporary_folder() as folder:
        config = folder / "pyfpm.conf"
        config.write_text(
            f"[pyfpm]\ncontrol = {folder}/c.sock\n[pool:a]\napp = a:b\ndirectory = {folder}\n"
            f"listen = {folder}/a.sock\nuser = 54321\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "pyfpm", "-c", config, "start"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 78
        assert f"{config}:7: [pool:a] user: there is no user 54321" in done.stderr


def test_root_pool_needs_allow_root():
    """As root without `user` nothing starts; -R is the operator's word for it."""
    pools = "[pool:a]\napp = torture:app\nlisten = %(here)s/a.sock\npm.max_children = 1\n"
    with Pyfpm(pools, defaults="user =", wait_ready=False) as fpm:
        assert fpm.process.wait(20) == 78
        assert "user: is required, since the master is root" in fpm.log.text()
    with Pyfpm(pools, defaults="user =", arguments=["-R"]) as fpm:
        assert identity_of(fpm, "a")["uids"] == [0, 0, 0]
    with Pyfpm(pools + "group = games\n", defaults="user =", arguments=["-R"]) as fpm:
        identity = identity_of(fpm, "a")
        assert (identity["uids"], identity["gids"]) == ([0] * 3, [grp.getgrnam("games").gr_gid] * 3)
