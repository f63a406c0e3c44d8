"""Limits, priority, OOM score, processors, dumpable: read from inside of zygote and worker."""

import json
import os
import re
import resource
import signal
from pathlib import Path

import pytest
from harness.fcgi_client import fetch
from harness.machine import IS_ROOT, is_usable_by_others
from harness.master import Pyfpm
from harness.processes import CAP_SYS_NICE, CAP_SYS_RESOURCE, has_capability

MEASURE = """\
import ctypes, json, os, resource

def measure():
    umask = os.umask(0)
    os.umask(umask)
    with open("/proc/self/oom_score_adj") as file:
        oom_score_adj = int(file.read())
    limits = {name: resource.getrlimit(getattr(resource, name))
              for name in ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_AS", "RLIMIT_NPROC")}
    return {
        **limits,
        "pid": os.getpid(),
        "nice": os.nice(0),
        "oom_score_adj": oom_score_adj,
        "processors": sorted(os.sched_getaffinity(0)),
        "umask": umask,
        "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
        "no_new_privs": ctypes.CDLL(None).prctl(39, 0, 0, 0, 0),
        "uids": os.getresuid(),
        "directory": os.getcwd(),
    }

ZYGOTE = measure()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([ZYGOTE, measure()]).encode()]
"""

PLAIN = """
[pool:plain]
app = measure:app
listen = %(here)s/plain.sock
pm = static
pm.max_children = 1
preload = on
"""
EVERYTHING = """
[pool:full]
app = measure:app
listen = %(here)s/full.sock
pm = static
pm.max_children = 1
preload = on
rlimit_files = 200
rlimit_core = 1M
rlimit_as = 2GiB
rlimit_nproc = 5000
process.priority = 5
process.oom_score_adj = 300
process.cpu_affinity = 0
umask = 0027
"""
GIB = 1 << 30


def ask(fpm, pool):
    """What zygote and worker have measured."""
    return json.loads(fetch(fpm.address(f"{pool}.sock"), "/").body)


def read_own():
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        oom_score_adj = int(file.read())
    return {
        "RLIMIT_NOFILE": list(resource.getrlimit(resource.RLIMIT_NOFILE)),
        "RLIMIT_CORE": list(resource.getrlimit(resource.RLIMIT_CORE)),
        "RLIMIT_AS": list(resource.getrlimit(resource.RLIMIT_AS)),
        "RLIMIT_NPROC": list(resource.getrlimit(resource.RLIMIT_NPROC)),
        "nice": os.nice(0),
        "oom_score_adj": oom_score_adj,
        "processors": sorted(os.sched_getaffinity(0)),
    }


WANTED = {
    "RLIMIT_NOFILE": [200, 200],
    "RLIMIT_CORE": [1 << 20, 1 << 20],
    "RLIMIT_AS": [2 * GIB, 2 * GIB],
    "RLIMIT_NPROC": [5000, 5000],
    "nice": 5,
    "oom_score_adj": 300,
    "processors": [0],
    "umask": 0o027,
}


def assert_both(fpm, pool, wanted):
    """Zygote and worker are two processes, and both are as wanted."""
    zygote, worker = ask(fpm, pool)
    assert zygote["pid"] != worker["pid"]
    for found in (zygote, worker):
        assert {key: found[key] for key in wanted} == wanted


def test_every_attribute_is_in_force_in_zygote_and_worker_and_changes_with_a_reload():
    """One pool with all keys, one with none of them, and then other values for the first.

    Nothing of this needs root, which a change of the user on the way would not undo either.
    """
    own = read_own()
    with Pyfpm(EVERYTHING + PLAIN, files={"measure.py": MEASURE}) as fpm:
        assert_both(fpm, "full", WANTED)
        assert_both(fpm, "plain", own)
        changed = (
            fpm.config.read_text()
            .replace("rlimit_files = 200", "rlimit_files = 300")
            .replace("rlimit_as = 2GiB", "rlimit_as = unlimited" if IS_ROOT else "rlimit_as = 1GiB")
            .replace("process.priority = 5", "process.priority = 7")
            .replace("process.oom_score_adj = 300", "process.oom_score_adj = 400")
            .replace("process.cpu_affinity = 0\n", "")
            .replace("umask = 0027", "umask = 0077")
        )
        fpm.config.write_text(changed)
        assert fpm.command("reload").returncode == 0
        again = {
            **WANTED,
            "RLIMIT_NOFILE": [300, 300],
            "RLIMIT_AS": [-1, -1] if IS_ROOT else [GIB, GIB],
            "nice": 7,
            "oom_score_adj": 400,
            "processors": own["processors"],
            "umask": 0o077,
        }
        assert_both(fpm, "full", again)


def test_dumpable_is_off_unless_the_pool_wants_it():
    """In the zygote before the application is imported, and in every worker."""
    pools = PLAIN + PLAIN.replace("plain", "open") + "process.dumpable = yes\n"
    defaults = "" if IS_ROOT else "process.dumpable = no"  # the harness has another default
    with Pyfpm(pools, defaults=defaults, files={"measure.py": MEASURE}) as fpm:
        assert [found["dumpable"] for found in ask(fpm, "plain")] == [0, 0]
        assert [found["dumpable"] for found in ask(fpm, "open")] == [1, 1]


def test_worker_that_is_not_dumpable_dumps_no_core():
    """A core file would hold the memory of other requests; rlimit_core alone is not enough."""
    crash = "import os\ndef app(environ, start_response):\n    os.abort()\n"
    pools = PLAIN + PLAIN.replace("plain", "open") + "process.dumpable = yes\n"
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="ascii").strip()
    if "/" in pattern or pattern.startswith("|"):
        pytest.skip("core files of this machine go to a place of their own")
    with Pyfpm(
        pools.replace("measure", "crash"),
        defaults="rlimit_core = unlimited\nprocess.dumpable = no\n",
        files={"crash.py": crash},
        prepare=lambda folder: (folder / "app").chmod(0o777),
    ) as fpm:
        for pool in ("plain", "open"):
            fetch(fpm.address(f"{pool}.sock"), "/")
        fpm.log.wait_for(r"pool open\] child \d+ exited on signal 6")
        fpm.log.wait_for(r"pool plain\] child \d+ exited on signal 6")
        assert len(list(fpm.app.glob("core*"))) == 1


@pytest.mark.usefixtures("as_root")
def test_root_may_go_beyond_what_the_master_was_started_with():
    """Hard limits and OOM score beyond the master's own, under another user."""
    if not has_capability(CAP_SYS_RESOURCE):
        pytest.skip("root has no CAP_SYS_RESOURCE here")
    pools = PLAIN + "rlimit_files = 2048\nrlimit_core = 5G\nprocess.oom_score_adj = -20\n"
    with Pyfpm(
        pools,
        main="rlimit_core = 4K",
        files={"measure.py": MEASURE},
        launcher=["prlimit", "--nofile=512:1024"],
    ) as fpm:
        wanted = {"RLIMIT_NOFILE": [2048] * 2, "RLIMIT_CORE": [5 * GIB] * 2, "oom_score_adj": -20}
        assert_both(fpm, "plain", wanted)


@pytest.mark.usefixtures("as_root")
def test_root_without_the_capability_is_told_which_one_it_takes():
    """As in most containers: each key says what it needs, and no pool runs without its limit."""
    keys = {"rlimit_files": 2048, "rlimit_core": "5G", "process.oom_score_adj": -20}
    pools = "".join(
        PLAIN.replace("plain", key.replace(".", "-")) + f"{key} = {value}\n"
        for key, value in keys.items()
    )
    drop = ["setpriv", "--bounding-set=-sys_resource"]
    if has_capability(CAP_SYS_RESOURCE):  # a bounding set takes away at an exec
        drop += ["--inh-caps=-sys_resource"]
    with Pyfpm(
        pools + PLAIN,
        main="rlimit_core = 4K",
        files={"measure.py": MEASURE},
        launcher=["prlimit", "--nofile=512:1024", *drop],
    ) as fpm:
        text = fpm.log.text()
        assert re.search(
            r"pool rlimit_files\] .*rlimit_files = 2048: the hard limit is 1024, and to raise it"
            r" takes CAP_SYS_RESOURCE, up to fs.nr_open",
            text,
        )
        assert re.search(
            r"pool rlimit_core\] .*rlimit_core = 5368709120: the hard limit is 4096, and", text
        )
        assert re.search(
            r"pool process-oom_score_adj\] .*process.oom_score_adj = -20: the master's own is"
            r" -?\d+, and to go below takes CAP_SYS_RESOURCE",
            text,
        )
        assert fpm.pool_status("plain")["state"] == "running"


@pytest.mark.usefixtures("as_root")
def test_root_may_go_below_the_masters_nice_value():
    """And the processes that come out of it are no root's."""
    if not has_capability(CAP_SYS_NICE):
        pytest.skip("root has no CAP_SYS_NICE here")
    with Pyfpm(PLAIN + "process.priority = -3\n", files={"measure.py": MEASURE}) as fpm:
        assert_both(fpm, "plain", {"nice": -3})
        assert 0 not in ask(fpm, "plain")[1]["uids"]


@pytest.mark.usefixtures("as_root")
def test_priority_and_core_limit_of_the_master_are_those_of_its_pools():
    """Unless a pool has its own; a reload says that the master's own take a restart."""
    if not has_capability(CAP_SYS_NICE):
        pytest.skip("root has no CAP_SYS_NICE here")
    pools = PLAIN + PLAIN.replace("plain", "own") + "process.priority = 9\n"
    main = "process.priority = -2\nrlimit_core = 8K"
    with Pyfpm(pools, main=main, files={"measure.py": MEASURE}) as fpm:
        assert os.getpriority(os.PRIO_PROCESS, fpm.process.pid) == -2
        assert resource.prlimit(fpm.process.pid, resource.RLIMIT_CORE) == (8192, 8192)
        assert_both(fpm, "plain", {"nice": -2, "RLIMIT_CORE": [8192, 8192]})
        assert_both(fpm, "own", {"nice": 9, "RLIMIT_CORE": [8192, 8192]})
        fpm.config.write_text(fpm.config.read_text().replace("priority = -2", "priority = -4"))
        done = fpm.command("reload")
        assert "[pyfpm] process.priority: changed, and takes effect when" in done.stderr
        assert_both(fpm, "plain", {"nice": -2})


@pytest.mark.usefixtures("as_root")
def test_key_that_the_kernel_refuses_fails_its_pool_alone_and_not_in_a_storm():
    """The line names key, value and reason; tries come further and further apart."""
    refused = PLAIN.replace("plain", "bad") + "rlimit_files = 2147483647\n"
    with Pyfpm(refused + PLAIN, files={"measure.py": MEASURE}) as fpm:
        fpm.log.wait_for(
            r"pool bad\] boot failed, .*become \S+: rlimit_files = 2147483647: "
            r"the hard limit is \d+, .* \(failure 3\)"
        )
        waits = re.findall(r"next try in ([\d.]+) s", fpm.log.text())
        assert float(waits[2]) > float(waits[0])
        assert fpm.pool_status("bad")["state"] == "degraded"
        assert fpm.pool_status("plain")["state"] == "running"
        assert_both(fpm, "plain", {"nice": os.nice(0)})
        fpm.config.write_text(fpm.config.read_text().replace("2147483647", "100"))
        assert fpm.command("reload", "bad").returncode == 0
        assert_both(fpm, "bad", {"RLIMIT_NOFILE": [100, 100]})


@pytest.mark.usefixtures("as_root")
def test_check_as_root_finds_what_the_kernel_will_refuse():
    """With the file and line of the key, before anything is started."""
    with Pyfpm(PLAIN + "rlimit_files = 100\n", files={"measure.py": MEASURE}) as fpm:
        assert fpm.command("check").returncode == 0
        fpm.config.write_text(fpm.config.read_text().replace("= 100", "= 2147483647"))
        done = fpm.command("check")
        assert done.returncode == 78
        number = fpm.config.read_text().splitlines().index("rlimit_files = 2147483647") + 1
        line = f"{fpm.config}:{number}: [pool:plain] rlimit_files: 2147483647: the hard limit is"
        assert line in done.stderr


@pytest.mark.usefixtures("as_root")
def test_reload_to_a_value_that_is_refused_leaves_the_old_generation_serving():
    """And the command says what was wrong."""
    with Pyfpm(PLAIN + "rlimit_files = 100\n", files={"measure.py": MEASURE}) as fpm:
        text = fpm.config.read_text()
        fpm.config.write_text(text.replace("rlimit_files = 100", "rlimit_files = 2147483647"))
        done = fpm.command("reload", "plain")
        assert done.returncode == 1
        assert "rlimit_files = 2147483647: the hard limit is" in done.stderr
        assert_both(fpm, "plain", {"RLIMIT_NOFILE": [100, 100]})


@pytest.mark.usefixtures("as_root")
def test_processes_of_a_user_are_bounded():
    """rlimit_nproc stops a fork bomb; without it the same forks work."""
    forks = """\
import os
def app(environ, start_response):
    start_response("200 OK", [])
    children, said = [], b"every fork worked"
    for _ in range(60):
        try:
            pid = os.fork()
        except OSError as error:
            said = error.strerror.encode()
            break
        if pid == 0:
            os.read(0, 1)
            import time; time.sleep(60); os._exit(0)
        children.append(pid)
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return [said]
"""
    pools = PLAIN.replace("measure", "forks")
    bounded = pools.replace("plain", "bounded") + "rlimit_nproc = 40\nuser = games\n"
    with Pyfpm(pools + bounded, files={"forks.py": forks}) as fpm:
        assert fetch(fpm.address("plain.sock"), "/").body == b"every fork worked"
        said = fetch(fpm.address("bounded.sock"), "/").body
        assert said == b"Resource temporarily unavailable"


@pytest.mark.usefixtures("as_root")
def test_user_with_too_many_processes_for_a_worker_is_told_which_key_says_so():
    """The zygote runs, and cannot fork."""
    pools = PLAIN.replace("plain", "none") + "rlimit_nproc = 1\nuser = games\n"
    with Pyfpm(pools + PLAIN, files={"measure.py": MEASURE}, wait_ready=False) as fpm:
        fpm.log.wait_for(r"pool none\] .*fork: Resource temporarily unavailable: see rlimit_nproc")
        fpm.log.wait_for("ready to handle connections")
        assert_both(fpm, "plain", {"no_new_privs": 1})


@pytest.mark.usefixtures("as_root")
def test_address_space_of_a_worker_is_bounded():
    """rlimit_as: what asks for more gets MemoryError and a 503, and the pool serves on."""
    hungry = """\
def app(environ, start_response):
    size = int(environ["QUERY_STRING"])
    kept = bytes(size)
    start_response("200 OK", [])
    return [b"had it"]
"""
    pools = PLAIN.replace("measure", "hungry") + "rlimit_as = 512M\n"
    with Pyfpm(pools, files={"hungry.py": hungry}) as fpm:
        assert fetch(fpm.address("plain.sock"), f"/?{1 << 20}").body == b"had it"
        assert fetch(fpm.address("plain.sock"), f"/?{1 << 30}").status == 503
        assert fetch(fpm.address("plain.sock"), f"/?{1 << 20}").body == b"had it"


@pytest.mark.usefixtures("as_root")
def test_master_without_root_does_what_it_may():
    """Limits down, nice value and OOM score up, and a limit beyond its own as far as it goes."""
    if not is_usable_by_others():
        pytest.skip("another user cannot run pyfpm from here")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    pools = EVERYTHING + PLAIN + f"rlimit_files = {hard + 1}\nprocess.priority = -5\n"
    with Pyfpm(
        pools,
        files={"measure.py": MEASURE},
        launcher=become,
        prepare=lambda folder: os.chown(folder, 65534, 65534),
    ) as fpm:
        assert_both(fpm, "full", WANTED)
        assert_both(fpm, "plain", {"RLIMIT_NOFILE": [hard] * 2, "nice": os.nice(0), "dumpable": 0})
        assert fpm.stop(signal.SIGTERM) == 0
