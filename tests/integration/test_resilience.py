"""Pools come back, and their master stays calm, when descriptors, forks or listeners fail."""

import contextlib
import os
import resource
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.fcgi_client import FcgiClient, fetch, make_params
from harness.hostile_app import CONTROLS
from harness.machine import free_port, wait_until
from harness.master import Pyfpm
from harness.processes import count_descriptors, cpu_time_s, watching

from pyfpm.fastcgi import encode_request

POOL = """
[pool:shop]
app = {app}:app
listen = {listen}
pm = {pm}
pm.max_children = {most}
{more}
"""


def pool(app, *more, pm="static", most=1, listen="%(here)s/shop.sock"):
    return POOL.format(app=app, pm=pm, most=most, listen=listen, more="\n".join(more))


def worker_of(client, uri="/pid", **options):
    """Return the pid in the answer: applications here answer with that of their worker."""
    response = client.request(uri, **options)
    assert response.status == 200, response
    return int(response.body)


FLOODING = """\
import time

import torture

def flood(control, started):
    message = json.dumps({"kind": "Saturated", "pending": 1}).encode()
    end = time.monotonic() + 10
    for turn in range(10**9):
        if turn == 100:
            os.write(started, b"s")
        if time.monotonic() > end:
            return
        try:
            os.write(control, message)
        except BlockingIOError:
            os.sched_yield()

def app(environ, start_response):
    if environ["PATH_INFO"] != "/flood":
        return torture.app(environ, start_response)
    control = next(controls()).detach()
    reader, writer = os.pipe()
    control = os.dup2(control, 600)
    writer = os.dup2(writer, 601)
    for _ in range(2):
        if os.fork() == 0:
            os.closerange(3, 600)
            try:
                flood(control, writer)
            finally:
                os._exit(0)
    for _ in range(2):
        os.read(reader, 1)
    os._exit(1)
"""


def test_flood_on_the_control_socket_of_a_dead_worker_does_not_block_the_master():
    """Children of the dead worker send without end: status answers, and the pool is whole again."""
    with Pyfpm(pool("flooding", most=2), files={"flooding.py": CONTROLS + FLOODING}) as fpm:
        with fpm.client("shop.sock") as client:
            assert not client.request("/flood").complete
        with ThreadPoolExecutor(1) as asking:
            for _ in range(3):
                asking.submit(fpm.control, "status").result(timeout=2)
        fpm.log.wait_for(r"\[pool shop\] child \d+ exited with code 1", timeout_s=2)
        wait_until(lambda: fpm.pool_status("shop")["idle processes"] == 2, timeout_s=3)
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200


@contextlib.contextmanager
def no_descriptor_left(pid):
    """Lower a process's limit so that it can open nothing; what is open stays so."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("most", [1, 2])
def test_master_out_of_descriptors_for_a_while_serves_again_afterwards(most):
    """Workers that died meanwhile are replaced once it can, and it has leaked no descriptor."""
    with Pyfpm(pool("torture", most=most)) as fpm:
        master = fpm.process.pid
        wait_until(lambda: fpm.pool_status("shop")["idle processes"] == most)
        pids = fpm.worker_pids("shop")
        before = count_descriptors(master)
        with contextlib.ExitStack() as stack:
            with no_descriptor_left(master):
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                fpm.log.wait_for(r"a worker could not be asked for|trying again in", timeout_s=3)
                client = stack.enter_context(FcgiClient(fpm.address("shop.sock"), 4))
                client.send(encode_request(1, make_params("/pid")))
                # Long enough for every attempt that a failure puts off to fail once more.
                fpm.log.wait_for(
                    r"a worker could not be asked for|trying again in",
                    timeout_s=3,
                    since=fpm.log.mark(),
                )
            assert client.response().status == 200
        wait_until(lambda: fpm.pool_status("shop")["idle processes"] == most, timeout_s=4)
        wait_until(lambda: count_descriptors(master) <= before, timeout_s=2)


def test_zygote_that_dies_while_the_master_has_no_descriptors_is_replaced_afterwards():
    """Neither zygote nor worker can be had for a while; the client that waits is answered."""
    with Pyfpm(pool("torture")) as fpm:
        master, zygote = fpm.process.pid, fpm.zygote_pid("shop")
        (pid,) = wait_until(lambda: fpm.worker_pids("shop"))
        before = count_descriptors(master)
        with contextlib.ExitStack() as stack:
            with no_descriptor_left(master):
                os.kill(zygote, signal.SIGKILL)
                fpm.log.wait_for(r"start a zygote: Too many open files", timeout_s=3)
                os.kill(pid, signal.SIGKILL)
                fpm.log.wait_for(rf"child {pid} exited on signal 9", timeout_s=3)
                client = stack.enter_context(FcgiClient(fpm.address("shop.sock"), 5))
                client.send(encode_request(1, make_params("/pid")))
            assert client.response().status == 200
        wait_until(lambda: count_descriptors(master) <= before, timeout_s=2)


HANGING_FORK = """\
import os, time

import torture

def hang():
    while os.path.exists(os.path.join(os.path.dirname(__file__), "hang")):
        time.sleep(0.02)

os.register_at_fork(after_in_child=hang)
app = torture.app
"""


def test_zygote_that_hangs_in_a_fork_is_replaced_after_boot_timeout():
    """A hook of the application hangs in the middle process; once it does not, the pool serves."""
    pools = pool("hanging", "boot_timeout = 1s")
    with Pyfpm(pools, files={"hanging.py": HANGING_FORK}) as fpm:
        zygote = fpm.zygote_pid("shop")
        (pid,) = wait_until(lambda: fpm.worker_pids("shop"))
        flag = fpm.app / "hang"
        try:
            with watching(zygote) as ends:
                flag.touch()
                os.kill(pid, signal.SIGKILL)
                fpm.log.wait_for(r"a worker did not boot within boot_timeout \(1 s\)", timeout_s=3)
                ends.wait(2)
        finally:
            flag.unlink()
        with FcgiClient(fpm.address("shop.sock"), 5) as client:
            assert worker_of(client) != pid
        assert fpm.zygote_pid("shop") != zygote


HANGING_EXIT = """\
import atexit, os, time

import torture

ZYGOTE = os.getpid()

def hang():
    flag = os.path.join(os.path.dirname(__file__), "hang")
    while os.getpid() == ZYGOTE and os.path.exists(flag):
        time.sleep(0.02)

atexit.register(hang)
app = torture.app
"""


def test_returned_zygote_that_hangs_at_its_exit_does_not_keep_the_next_request_waiting():
    """An ondemand pool gave its zygote back, and an exit handler keeps that from ending."""
    pools = pool(
        "hanging", "pm.process_idle_timeout = 200ms", "preload.idle_timeout = 200ms", pm="ondemand"
    )
    main = "log_level = debug"
    with Pyfpm(pools, files={"hanging.py": HANGING_EXIT}, main=main) as fpm:
        flag = fpm.app / "hang"
        flag.touch()
        try:
            assert fetch(fpm.address("shop.sock"), "/pid").status == 200
            fpm.log.wait_for("the zygote is given back", timeout_s=4)
            with FcgiClient(fpm.address("shop.sock"), 5) as client:
                assert client.request("/pid").status == 200
        finally:
            flag.unlink()


DEAF = """\
import signal

import torture

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
app = torture.app
"""


def test_application_that_ignores_sigchld_serves_requests():
    """The kernel reaps the zygote's middle process by itself, and the zygote lives with it."""
    with Pyfpm(pool("deaf", most=2), files={"deaf.py": DEAF}) as fpm:
        zygote = fpm.zygote_pid("shop")
        pids = wait_until(lambda: len(fpm.worker_pids("shop")) == 2 and fpm.worker_pids("shop"))
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
        os.kill(pids[0], signal.SIGKILL)
        fpm.log.wait_for(rf"child {pids[0]} exited on signal 9", timeout_s=3)
        wait_until(lambda: fpm.pool_status("shop")["idle processes"] == 2, timeout_s=3)
        assert fetch(fpm.address("shop.sock"), "/pid").status == 200
        assert fpm.zygote_pid("shop") == zygote


SHUTTING = """\
import os, socket

import torture

def app(environ, start_response):
    if environ["PATH_INFO"] == "/shut-down":
        listener = socket.socket(fileno=os.dup(10))
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    return torture.app({**environ, "PATH_INFO": "/pid"}, start_response)
"""


@pytest.mark.parametrize("pm", ["ondemand", "dynamic"])
@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_worker_that_shuts_its_listener_down_costs_the_master_no_spinning(family, pm):
    """A listener that hangs up is ready for ever; the master must not run after it."""
    listen = "%(here)s/shop.sock" if family == "unix" else f"127.0.0.1:{free_port()}"
    pools = pool("shutting", pm=pm, most=2, listen=listen)
    main = "process_control_timeout = 1s"
    with Pyfpm(pools, files={"shutting.py": SHUTTING}, main=main) as fpm:
        address = fpm.address("shop.sock") if family == "unix" else listen
        with FcgiClient(address) as client:
            worker_of(client, "/shut-down", keep=True)
            assert cpu_time_s(fpm.process.pid, 2) < 0.5


def test_crash_loop_at_the_spawn_rate_costs_the_master_no_spinning():
    """Clients wait and no worker may be spawned just now: the master sleeps until it may."""
    crashing = "import os\n\ndef app(environ, start_response):\n    os._exit(1)\n"
    pools = pool("crashing", "pm.max_spawn_rate = 1", pm="ondemand", most=2)
    with (
        Pyfpm(pools, files={"crashing.py": crashing}) as fpm,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(8):
            client = stack.enter_context(fpm.client("shop.sock"))
            client.send(encode_request(1, make_params("/")))
        fpm.log.wait_for(r"child \d+ exited with code 1", timeout_s=3)
        assert cpu_time_s(fpm.process.pid, 2) < 0.5
        assert fpm.pool_status("shop")["listen queue"] > 0


STARVING = """\
import os, resource

import torture

before = resource.getrlimit(resource.RLIMIT_NOFILE)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/starve":
        resource.setrlimit(resource.RLIMIT_NOFILE, (8, before[1]))
    elif environ["PATH_INFO"] == "/feed":
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    else:
        return torture.app(environ, start_response)
    return torture.app({**environ, "PATH_INFO": "/pid"}, start_response)
"""


def running_pids(fpm):
    processes = fpm.pool_status("shop", full=True)["processes"]
    return {entry["pid"] for entry in processes if entry["state"] == "Running"}


def keep_connections_to_both(fpm, stack):
    """Return kept connections by the pids of the two workers that serve them."""
    slow, quick = (stack.enter_context(fpm.client("shop.sock")) for _ in range(2))
    slow.send(encode_request(1, make_params("/sleep?s=0.3"), keep_conn=True))
    wait_until(lambda: running_pids(fpm))
    return {worker_of(quick, keep=True): quick, int(slow.response().body): slow}


@pytest.mark.parametrize("which", ["older", "younger"])
def test_worker_out_of_descriptors_leaves_clients_to_the_other_until_it_has_some_again(which):
    """It serves on the connections that it has; new ones are not kept waiting for it."""
    with Pyfpm(pool("starving", most=2), files={"starving.py": STARVING}) as fpm:
        wait_until(lambda: fpm.pool_status("shop")["idle processes"] == 2)
        pids = fpm.worker_pids("shop")
        starved, other = pids if which == "older" else reversed(pids)
        with contextlib.ExitStack() as stack:
            connections = keep_connections_to_both(fpm, stack)
            connections[other].close()
            # Else the other one may see that and a new client at once, and offer it to an idle one
            # that cannot take it: a limit below the numbers in use leaves no reserve.
            wait_until(lambda: fpm.pool_status("shop")["parked connections"] == 1)
            kept = connections[starved]
            assert worker_of(kept, "/starve", keep=True) == starved
            for _ in range(5):
                with FcgiClient(fpm.address("shop.sock"), 2) as client:
                    assert worker_of(client) == other
            # The other is busy from here on: only the one that starved can answer.
            slow = stack.enter_context(fpm.client("shop.sock"))
            slow.send(encode_request(1, make_params("/sleep?s=2.5")))
            wait_until(lambda: other in running_pids(fpm))
            assert worker_of(kept, "/feed", keep=True) == starved
            with FcgiClient(fpm.address("shop.sock"), 2) as client:
                assert worker_of(client) == starved
            assert slow.response().complete
