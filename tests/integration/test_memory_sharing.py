"""What workers share with their zygote, and what idle processes cost."""

import json
import time
from pathlib import Path

import pytest
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import children_of

# The import leaves a gap beside every object that stays, on two hundred pages.
APP = """
import gc

_left = [bytes(200) for _ in range(4_000)]
del _left[::2]
_kept = [[] for _ in range(9_000)]

def facts(environ, start_response):
    made = [bytes(200) for _ in range(1000)]
    steps = [id(b) - id(a) for a, b in zip(made, made[1:])]
    text = repr({
        "frozen": gc.get_freeze_count(),
        "on": gc.isenabled(),
        "seen": len(gc.get_objects()),
        "threshold": gc.get_threshold(),
        "in a row": sum(0 < step <= 256 for step in steps),
    }).replace("'", '"').replace("True", "true").replace("(", "[").replace(")", "]")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [text.encode()]
"""
WISHES = f"""{APP}
gc.set_threshold(5000, 50, 100)

class Odd(type):
    __hash__ = None

    def __getattribute__(cls, name):
        raise RuntimeError("a class of the application is looked into")

class Peculiar(metaclass=Odd):
    class __init__:
        pass
"""
POOLS = """
[pool:facts]
app = facts:facts
listen = %(here)s/facts.sock
pm = static
pm.max_children = 1

[pool:wishes]
app = wishes:facts
listen = %(here)s/wishes.sock
pm = static
pm.max_children = 1
"""
MANY = "".join(
    f"[pool:p{number}]\napp = hello:app\nlisten = %(here)s/p{number}.sock\n"
    "pm = static\npm.max_children = 1\n"
    for number in range(12)
)
QUIET_S = 1.0


@pytest.fixture(scope="module")
def fpm():
    with Pyfpm(POOLS, files={"facts.py": APP, "wishes.py": WISHES}) as running:
        yield running


def read_facts(fpm: Pyfpm, pool: str) -> dict:
    with fpm.client(f"{pool}.sock") as client:
        return json.loads(client.request("/").body)


def count_switches(pid: int) -> int:
    """Count how often the threads of a process have gone to sleep: each wake-up adds one."""
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches:")
    )


def is_still(pid: int) -> bool:
    """Tell whether no thread of the process woke up for QUIET_S."""
    before = count_switches(pid)
    time.sleep(QUIET_S)
    return count_switches(pid) == before


def test_worker_of_an_imported_application_collects_its_own_objects_only(fpm):
    """The collector is on, and what the import left is out of its sight."""
    facts = read_facts(fpm, "facts")
    assert facts["on"]
    assert facts["frozen"] > 9000 > facts["seen"]
    assert facts["threshold"][1:] == [5, 2]


def test_application_that_tunes_the_collector_keeps_its_thresholds(fpm):
    """What the import sets is what the workers run with."""
    assert read_facts(fpm, "wishes")["threshold"] == [5000, 50, 100]


def test_objects_of_a_worker_lie_side_by_side_where_the_import_left_gaps(fpm):
    """New objects dirty few pages: they do not go into the gaps between shared ones."""
    assert read_facts(fpm, "facts")["in a row"] > 900


def test_idle_processes_of_a_pool_do_not_wake_up(fpm):
    """Neither zygote nor worker has a timer, even after requests on a kept connection.

    (The master's question for a sign of life comes every worker_hung_timeout only.)
    """
    with fpm.client("facts.sock") as client:
        for _ in range(3):
            client.request("/", keep=True)
        for pid in [fpm.zygote_pid("facts"), *fpm.worker_pids("facts")]:
            assert wait_until(lambda pid=pid: is_still(pid), timeout_s=30)


def test_master_of_many_idle_pools_wakes_up_as_seldom_as_of_one():
    """Its timers are not per pool: one look a second, for all of them."""
    with Pyfpm(MANY) as fpm:
        wait_until(lambda: len(children_of(fpm.process.pid)) == 24)

        def is_calm() -> bool:
            before, begun_s = count_switches(fpm.process.pid), time.monotonic()
            time.sleep(3 * QUIET_S)
            woken = count_switches(fpm.process.pid) - before
            return woken <= 3 * (time.monotonic() - begun_s)

        assert wait_until(is_calm, timeout_s=30)


def test_backlog_changed_by_a_reload_shows_in_the_status(fpm):
    """The master remembers how many connections may wait, until a reload says otherwise."""
    assert fpm.pool_status("facts")["listen queue len"] not in (0, 37)
    text = fpm.config.read_text()
    fpm.config.write_text(
        text.replace("app = facts:facts\n", "app = facts:facts\nlisten.backlog = 37\n")
    )
    done = fpm.command("reload")
    assert done.returncode == 0, done.stderr
    assert fpm.pool_status("facts")["listen queue len"] == 37
