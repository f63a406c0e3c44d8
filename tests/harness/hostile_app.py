"""Applications that attack what they share with their master, beside a pool that must not notice.

`CONTROLS` stands before the text of an attack, `APP` before one whose functions requests call.
"""

import contextlib
from collections.abc import Iterator

from harness.fcgi_client import fetch
from harness.machine import wait_until
from harness.master import Pyfpm
from harness.processes import children_of, title_of

CONTROLS = """\
import json, os, socket

BOARD, NOTICE, SEND, RECEIVE, LISTENER = 6, 7, 8, 9, 10  # descriptors of every worker

def controls():
    # Copies of the worker's own control socket: of SEQPACKET, beside the two of the channel.
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (SEND, RECEIVE):
            try:
                found = socket.socket(fileno=os.dup(int(name)))
            except OSError:
                continue
            if found.type == socket.SOCK_SEQPACKET:
                yield found

"""

# A request for /NAME?QUERY calls the function NAME; the answer has its pid and what was returned.
CALLS = """\
def app(environ, start_response):
    name = environ["PATH_INFO"][1:].replace("-", "_")
    result = globals()[name](environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), result]).encode()]

def pid(query):
    return None

"""
APP = CONTROLS + CALLS

POOL = """
[pool:{name}]
app = {app}
listen = %(here)s/{name}.sock
pm = {pm}
pm.max_children = {most}
{lines}
"""


def pool(
    name: str, *lines: str, app: str = "hostile:app", pm: str = "static", most: int = 2
) -> str:
    """Return the text of a pool."""
    return POOL.format(name=name, app=app, pm=pm, most=most, lines="\n".join(lines))


GOOD = pool("good", app="torture:app", most=1)


def beside_good(
    pm: str, source: str, *, defaults: str = "boot_timeout = 5s", **options: object
) -> Pyfpm:
    """Return a master with a pool `bad` of this application and the pool `good`."""
    files = {"hostile.py": source}
    return Pyfpm(pool("bad", pm=pm) + GOOD, defaults=defaults, files=files, **options)


def workers_of(fpm: Pyfpm, name: str, count: int | None = None) -> list[int] | None:
    """Return the pids of a pool's workers, by what ps says; None where they are not `count`."""
    children = children_of(fpm.process.pid)
    found = sorted(pid for pid in children if f"pool {name} worker" in title_of(pid))
    return found if count is None or len(found) == count else None


@contextlib.contextmanager
def undisturbed(fpm: Pyfpm) -> Iterator[None]:
    """Before and after an attack: the same master, the same worker of `good`, and it serves."""
    good = fpm.worker_pids("good")
    wait_until(lambda: workers_of(fpm, "bad", 2))
    yield
    assert fpm.process.poll() is None
    assert fetch(fpm.address("good.sock"), "/pid").body == b"%d\n" % good[0]
    assert fpm.worker_pids("good") == good
