"""Identity and sandbox changed by a reload, under load: new processes have it, no request fails."""

import grp
import os
import pwd

import pytest
from harness.fcgi_client import fetch
from harness.machine import IS_ROOT, needs_sandbox, wait_until
from harness.master import Pyfpm
from harness.posts import Posts
from harness.processes import process_fields

pytestmark = pytest.mark.usefixtures("as_root")

APP = """\
import os

def attempt(action, *arguments):
    try:
        return action(*arguments) or "done"
    except OSError as error:
        return error.strerror

def read(path):
    with open(path) as file:
        return file.read()

def write(path):
    with open(path, "a") as file:
        file.write(".")

ATTEMPTS = {"read": read, "write": write, "execute": lambda path: os.system(path) and "refused"}

def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [])
    what, _, path = environ["QUERY_STRING"].partition("=")
    return [(attempt(ATTEMPTS[what], path) if path else "served").encode()]
"""
POOL = """
[pool:shop]
app = who:app
listen = %(here)s/shop.sock
pm = static
pm.max_children = 2
preload = on
sandbox = off
"""


def limit(name):
    def read(pid):
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            row = next(line for line in file if line.startswith(name))
        return row.removeprefix(name).split()[:2]

    return read


def field(name):
    return lambda pid: process_fields(pid)[name].split()


def read_oom_score_adj(pid):
    with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as file:
        return int(file.read())


def is_dumpable(pid):
    """A process that is not has a folder of root."""
    return os.stat(f"/proc/{pid}/environ").st_uid != 0


def numbers_of(user, group, extra):
    """What /proc shows of these names."""
    uid, gid = pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    groups = {gid, grp.getgrnam(extra).gr_gid, *os.getgrouplist(user, pwd.getpwnam(user).pw_gid)}
    shown = ([uid] * 4, [gid] * 4, sorted(groups))
    return [[str(number) for number in numbers] for numbers in shown]


UIDS, GIDS, GROUPS = numbers_of("games", "audio", "video") if IS_ROOT else ([], [], [])
ATTRIBUTES = {
    "umask = 0077": (field("Umask"), ["0077"]),
    "process.priority = 4": (lambda pid: os.getpriority(os.PRIO_PROCESS, pid), 4),
    "process.oom_score_adj = 321": (read_oom_score_adj, 321),
    "process.cpu_affinity = 0": (os.sched_getaffinity, {0}),
    "process.dumpable = yes": (is_dumpable, True),
    "rlimit_core = 1M": (limit("Max core file size"), [str(1 << 20)] * 2),
    "rlimit_nproc = 4321": (limit("Max processes"), ["4321"] * 2),
    "rlimit_files = 400": (limit("Max open files"), ["400"] * 2),
    "rlimit_as = 3G": (limit("Max address space"), [str(3 << 30)] * 2),
    "no_new_privs = no": (field("NoNewPrivs"), ["0"]),
}
IDENTITY = {
    "user = games": (field("Uid"), UIDS),
    "group = audio": (field("Gid"), GIDS),
    "extra_groups = video": (field("Groups"), GROUPS),
}
if len(os.sched_getaffinity(0)) == 1:
    del ATTRIBUTES["process.cpu_affinity = 0"]  # there is nothing to change


@pytest.fixture(scope="module")
def fpm():
    if os.getuid() != 0:
        pytest.skip("changing the user needs root")
    with Pyfpm(POOL, files={"who.py": APP}) as running:
        running.before = running.config.read_text()
        yield running


@pytest.fixture(autouse=True)
def restored(fpm):
    yield
    fpm.config.write_text(fpm.before)


def processes(fpm):
    """Zygote and workers, all of one generation."""
    wait_until(lambda: fpm.pool_status("shop")["total processes"] == 2)
    return {fpm.zygote_pid("shop"), *fpm.worker_pids("shop")}


def reload(fpm, text):
    """Under load; the processes afterwards."""
    fpm.config.write_text(text)
    address = fpm.address("shop.sock")
    old = processes(fpm)
    with Posts(address) as kept, Posts(address, keep=False) as closed:
        done = fpm.command("reload", "shop")
        assert done.returncode == 0, done.stderr
    # Where the user or a group changes, an old worker keeps its kept connections to their end.
    wait_until(lambda: not old & {fpm.zygote_pid("shop"), *fpm.worker_pids("shop")})
    assert kept.failures == closed.failures == []
    assert min(kept.count, closed.count) > 0
    return processes(fpm)


@pytest.mark.parametrize("keys", [ATTRIBUTES, IDENTITY], ids=["attributes", "identity"])
def test_changed_keys_are_in_force_after_a_reload_under_load(fpm, keys):
    """In the zygote and in every worker, and gone again where they are."""

    def found(pids):
        return [{line: read(pid) for line, (read, _) in keys.items()} for pid in pids]

    wanted = {line: value for line, (_, value) in keys.items()}
    before = found(processes(fpm))
    assert all(wanted[line] != value for line, value in before[0].items())
    text = fpm.before.replace("[pool:shop]", "\n".join(["[pool:shop]", *keys]))
    assert found(reload(fpm, text)) == [wanted] * 3
    assert found(reload(fpm, fpm.before)) == before


@needs_sandbox
def test_changed_lists_of_the_sandbox_are_in_force_after_a_reload_under_load(fpm):
    """Rules cannot be added to a process: it takes the new zygote, which has new ones."""
    data = fpm.folder / "data"
    data.mkdir()
    data.chmod(0o777)
    (data / "file").write_text("secret")
    (data / "file").chmod(0o666)
    (data / "tool").write_text("#!/bin/sh\n")
    (data / "tool").chmod(0o755)

    def attempts():
        asked = (("read", "file"), ("write", "file"), ("execute", "tool"))
        address = fpm.address("shop.sock")
        return [fetch(address, f"/?{what}={data}/{name}").body.decode() for what, name in asked]

    assert attempts() == ["secret", "done", "done"]
    refused, other = "Permission denied", "refused"
    shell = os.path.realpath("/bin/sh")
    for lists, found in (
        ("sandbox = on", [refused, refused, other]),
        (f"sandbox.read = {data}", ["secret.", refused, other]),
        (f"sandbox.write = {data}", ["secret.", "done", other]),
        (f"sandbox.execute = {data} {shell} /bin/sh", ["secret..", refused, "done"]),
        ("sandbox = off", ["secret..", "done", "done"]),
    ):
        reload(fpm, fpm.before.replace("sandbox = off", lists))
        assert attempts() == found


def fail_reload(fpm, text):
    """What the command says; nobody has noticed."""
    old = processes(fpm)
    fpm.config.write_text(text)
    with Posts(fpm.address("shop.sock")) as load:
        done = fpm.command("reload", "shop")
        assert done.returncode == 1
    assert load.failures == []
    assert processes(fpm) == old
    return done.stderr


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("user = no-such-user", "user: there is no user no-such-user; create it or name another"),
        ("group = no-such-group", "group: there is no group no-such-group"),
        ("chroot = /no/such/root", "chroot: /no/such/root does not exist"),
        ("rlimit_files = 2147483647", "rlimit_files = 2147483647: the hard limit is"),
        ("sandbox.read = /no/such/place", "/no/such/place"),
    ],
)
def test_identity_that_cannot_be_had_leaves_the_old_generation_serving(fpm, keys, said):
    """Whether the files say so, or only the kernel."""
    text = fpm.before.replace("[pool:shop]", f"[pool:shop]\n{keys}").replace("sandbox = off\n", "")
    assert said in fail_reload(fpm, text)


def test_keys_of_the_master_that_take_a_restart_say_so(fpm):
    """And what a pool inherits of them stays as it was."""
    nice = [os.getpriority(os.PRIO_PROCESS, pid) for pid in processes(fpm)]
    keys = {"process.priority": "7", "rlimit_core": "4K", "rlimit_files": "4000"}
    more = "".join(f"{key} = {value}\n" for key, value in keys.items())
    fpm.config.write_text(fpm.before.replace("[pyfpm]\n", f"[pyfpm]\n{more}"))
    done = fpm.command("reload")
    assert done.returncode == 0
    for key in keys:
        assert f"[pyfpm] {key}: changed, and takes effect when" in done.stderr
    assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in processes(fpm)] == nice
