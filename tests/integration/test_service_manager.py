"""What systemd hears of a master: a stand-in binds NOTIFY_SOCKET and listens."""

import asyncio
import json
import os
import signal
import socket
import time

import pytest
from harness.fcgi_client import fetch
from harness.machine import temporary_folder
from harness.master import Pyfpm
from harness.processes import watching
from harness.service_manager import NotifySocket

from pyfpm.master.notifier import Notifier

POOL = """
[pool:hello]
app = hello:app
listen = %(here)s/hello.sock
pm = static
pm.max_children = 2
"""
TELLS_ITS_ENVIRONMENT = """
import json, os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(dict(os.environ)).encode()]
"""
BROKEN = """
[pool:blog]
app = broken:app
listen = %(here)s/blog.sock
"""


@pytest.fixture
def folder():
    with temporary_folder() as made:
        yield made


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_start_and_stop_are_told_in_order(kind, folder):
    """READY with the main pid and a line for people, later STOPPING; on both kinds of address."""
    with NotifySocket(folder if kind == "path" else None) as manager:
        with Pyfpm(POOL, environ={"NOTIFY_SOCKET": manager.address}) as fpm:
            ready = manager.wait_for("READY")
            assert ready["READY"] == "1"
            assert ready["MAINPID"] == str(fpm.process.pid)
            assert ready["STATUS"].startswith("1 pool, ")
            manager.wait_for("STATUS", "1 pool, 2 workers, 2 idle")
            assert not any("STOPPING" in message for message in manager.messages)
            fpm.stop()
            assert manager.wait_for("STOPPING")["STOPPING"] == "1"
        names = [name for message in manager.messages for name in message if name != "STATUS"]
        assert names == ["READY", "MAINPID", "STOPPING"]


def test_a_degraded_pool_is_named_with_its_reason(folder):
    """`systemctl status` shows the line, so it must say what is wrong."""
    files = {"broken.py": "raise OSError('no database today')\n"}
    with (
        NotifySocket(folder) as manager,
        Pyfpm(POOL + BROKEN, files=files, environ={"NOTIFY_SOCKET": manager.address}) as fpm,
    ):
        told = manager.wait_for("STATUS", "pool blog is degraded: ")["STATUS"]
        assert told.startswith("2 pools, ")
        assert "\n" not in told
        mark = manager.mark()
        os.replace(fpm.app / "hello.py", fpm.app / "broken.py")
        # A STATUS with the reason may be on its way still when the file is mended.
        mended = manager.wait_for("STATUS", "idle", unwanted="degraded", since=mark)["STATUS"]
        assert mended.endswith("idle")


def test_the_watchdog_gets_signs_of_life(folder):
    """Several of them, and none while the master hangs."""
    environ = {"WATCHDOG_USEC": "200000"}
    with NotifySocket(folder) as manager:
        environ["NOTIFY_SOCKET"] = manager.address
        with Pyfpm(POOL, environ=environ) as fpm:
            for _ in range(3):
                manager.wait_for("WATCHDOG", "1", since=manager.mark())
            fpm.process.send_signal(signal.SIGSTOP)
            wait_stopped(fpm.process.pid)
            mark = manager.mark()
            time.sleep(0.5)  # two and a half times the watchdog's patience
            assert manager.mark() == mark
            fpm.process.send_signal(signal.SIGCONT)
            manager.wait_for("WATCHDOG", "1", since=mark)


def wait_stopped(pid):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "T":
                return
    raise AssertionError("still running")


def test_a_watchdog_of_another_process_is_not_served(folder):
    """WATCHDOG_PID names the process that is to be watched."""
    environ = {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
    with NotifySocket(folder) as manager:
        environ["NOTIFY_SOCKET"] = manager.address
        with Pyfpm(POOL, environ=environ) as fpm:
            manager.wait_for("STATUS", "2 idle")
            fpm.stop()
        assert not any("WATCHDOG" in message for message in manager.messages)


def test_pools_see_nothing_of_the_service_manager(folder):
    """An application that spoke to NOTIFY_SOCKET would be taken for the master."""
    pool = POOL.replace("hello:app", "tells:app") + "clear_env = no\n"
    environ = {
        "WATCHDOG_USEC": "60000000",
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "x",
        "KEPT": "yes",
    }
    with NotifySocket(folder) as manager:
        environ["NOTIFY_SOCKET"] = manager.address
        files = {"tells.py": TELLS_ITS_ENVIRONMENT}
        with Pyfpm(pool, files=files, environ=environ) as fpm:
            seen = json.loads(fetch(fpm.address("hello.sock")).body)
    assert seen["KEPT"] == "yes"
    assert not [name for name in seen if name.startswith(("NOTIFY_", "WATCHDOG_", "LISTEN_"))]


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:1", "relative"])
def test_a_manager_that_does_not_listen_costs_one_warning(address):
    """The service serves all the same."""
    with Pyfpm(POOL, environ={"NOTIFY_SOCKET": address}) as fpm:
        fpm.log.wait_for(rf"WARNING: tell the service manager at {address}: ")
        assert fetch(fpm.address("hello.sock")).status == 200
        with watching(fpm.process.pid) as ends:
            fpm.stop()
            ends.wait()
        assert len(fpm.log.find("tell the service manager")) == 1


def test_a_reload_is_told_with_the_time_of_its_begin(folder):
    """Type=notify-reload: RELOADING with a time that systemd compares, READY at the end."""
    with NotifySocket(folder) as manager:

        async def reload():
            notifier = Notifier(manager.address)
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            notifier.reloading()
            after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            notifier.ready()
            notifier.close()
            return before, after

        before, after = asyncio.run(reload())
        told = manager.wait_for("RELOADING", "1")
        assert before <= int(told["MONOTONIC_USEC"]) <= after
        assert manager.wait_for("READY")["MAINPID"] == str(os.getpid())
        assert manager.messages[0] is told


def test_status_lines_come_at_most_once_a_second(folder):
    """A flapping pool does not flood the journal; the last line is the one that stays."""
    with NotifySocket(folder) as manager:

        async def flap():
            notifier = Notifier(manager.address)
            begun_s = time.monotonic()
            for number in range(50):
                notifier.status(f"line {number}")
            await asyncio.to_thread(manager.wait_for, "STATUS", "line 49")
            notifier.status("line 49")
            notifier.close()
            return time.monotonic() - begun_s

        took_s = asyncio.run(asyncio.wait_for(flap(), 10))
        assert [message["STATUS"] for message in manager.messages] == ["line 0", "line 49"]
        assert took_s >= 0.9


def test_a_full_queue_delays_messages_and_keeps_their_order(folder):
    """A service manager that is busy for a while does not block the master."""
    path = str(folder / "slow")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
        slow.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            filled = 0
            try:
                while True:
                    filler.sendto(b"FILLED=1", path)
                    filled += 1
            except BlockingIOError:
                pass

        async def tell():
            notifier = Notifier(path)
            notifier.reloading()
            notifier.ready()
            slow.setblocking(False)
            for _ in range(filled):
                assert slow.recv(100) == b"FILLED=1"
            loop = asyncio.get_running_loop()
            return [await loop.sock_recv(slow, 1000) for _ in range(2)]

        first, second = asyncio.run(asyncio.wait_for(tell(), 10))
    assert first.startswith(b"RELOADING=1\n")
    assert second.startswith(b"READY=1\n")
