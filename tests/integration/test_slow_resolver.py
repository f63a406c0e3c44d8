"""A pool that listens on a host name, and a resolver that takes its time.

The resolver is a thread of the test: it sees the question, and answers when the test says so. The
master's resolv.conf, in a mount namespace of its own, has a patience of minutes.
"""

import os
import shutil
import signal
import socket
import struct
import threading
from contextlib import contextmanager

import pytest
from harness.fcgi_client import fetch
from harness.machine import IS_ROOT, free_port, temporary_folder, wait_until
from harness.master import Pyfpm
from harness.processes import children_of, title_of

pytestmark = pytest.mark.skipif(
    not (IS_ROOT and shutil.which("unshare")), reason="needs a mount namespace"
)

POOL = """
[pool:{name}]
app = hello:app
listen = {listen}
pm = static
pm.max_children = 1
"""
OTHER = POOL.format(name="other", listen="%(here)s/other.sock")
ALLOWED = "listen.allowed_clients = 127.0.0.1\n"
NAME = "shop.example"
_ADDRESS = 1  # the type A: a resolver asks for AAAA as well


def _end_of_name(question):
    return question.index(b"\0", 12) + 1


def _type_of(question):
    return struct.unpack_from(">H", question, _end_of_name(question))[0]


class Resolver:
    """Notes the questions that come to `address`, port 53, and answers them unless it holds."""

    def __init__(self):
        self.asked = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.held = []
        self.holds = False
        self.knows = False
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = self._bind()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _bind(self):
        """Port 53 of some loopback address that nobody else uses."""
        for last in range(2, 255):
            address = f"127.53.{last}.53"
            try:
                self.sock.bind((address, 53))
            except OSError:
                continue
            return address
        pytest.skip("no loopback address has its port 53 free")

    def _serve(self):
        while True:
            question, client = self.sock.recvfrom(512)
            if not question:
                return
            with self.lock:
                if self.holds:
                    self.held.append((question, client))
                else:
                    self.sock.sendto(self._answer(question), client)
                if _type_of(question) == _ADDRESS:
                    self.asked.release()

    def _answer(self, question):
        """The name's address is 127.0.0.1, where it is known; RFC 1035, section 4."""
        has_answer = self.knows and _type_of(question) == _ADDRESS
        flags = 0x8180 if self.knows else 0x8183  # there is no such name
        head = question[:2] + struct.pack(">HHHHH", flags, 1, has_answer, 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton("127.0.0.1")
        return head + question[12 : _end_of_name(question) + 4] + (record if has_answer else b"")

    def wait_asked(self):
        """Until the name is asked for once more."""
        assert self.asked.acquire(timeout=30)

    def hold(self):
        """Answer no more questions; those that have come are not waited for again."""
        with self.lock:
            self.holds = True
            while self.asked.acquire(blocking=False):
                pass

    def release(self, *, knows):
        """Answer those that were held, and what comes."""
        with self.lock:
            self.holds, self.knows = False, knows
            for question, client in self.held:
                self.sock.sendto(self._answer(question), client)
            self.held.clear()

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (self.address, 53))
        self.thread.join(10)
        self.sock.close()


@contextmanager
def master(pools):
    """A master that asks a resolver of ours, which says that there is no such name until told."""
    resolver = Resolver()
    resolver.release(knows=False)
    try:
        with temporary_folder() as folder:
            # As patient as glibc can be.
            patience = "options timeout:30 attempts:5"
            (folder / "resolv.conf").write_text(f"nameserver {resolver.address}\n{patience}\n")
            (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: dns\n")
            mounted = (
                'mount --bind "$0/resolv.conf" /etc/resolv.conf &&'
                ' mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf && exec "$@"'
            )
            launcher = ["unshare", "--mount", "sh", "-c", mounted, str(folder)]
            with Pyfpm(pools, launcher=launcher) as fpm:
                yield fpm, resolver
    finally:
        resolver.close()


def named_pool(port):
    return POOL.format(name="shop", listen=f"{NAME}:{port}") + ALLOWED


def is_running(fpm):
    return fpm.pool_status("shop")["state"] == "running"


def askers_of(fpm):
    """The processes of the master's that ask the resolver."""
    return [pid for pid in children_of(fpm.process.pid) if "resolver" in title_of(pid)]


def assert_attends(fpm):
    """The master answers, serves a reload of another pool, and reaps."""
    generation = fpm.pool_status("other")["generation"]
    assert fpm.command("reload", "other").returncode == 0
    assert fpm.pool_status("other")["generation"] == generation + 1
    assert fetch(fpm.address("other.sock")).status == 200


def test_late_pool_that_waits_for_a_resolver_does_not_hold_up_the_master():
    """Status, a reload of another pool, and requests go on; the pool comes with the answer."""
    port = free_port()
    with master(OTHER + named_pool(port)) as (fpm, resolver):
        reason = fpm.pool_status("shop")["reason"]
        assert reason == f"bind {NAME}:{port}: name or service not known"
        resolver.hold()
        resolver.wait_asked()
        (asker,) = askers_of(fpm)
        assert len(os.listdir(f"/proc/{asker}/fd")) <= 4  # none of the master's, and its question
        assert_attends(fpm)
        assert not is_running(fpm)
        resolver.release(knows=True)
        wait_until(lambda: is_running(fpm), timeout_s=40)
        assert fetch(f"127.0.0.1:{port}").status == 200
        assert not askers_of(fpm)


def test_reload_that_waits_for_a_resolver_does_not_hold_up_the_master():
    """Of a pool that is new; the command ends when it serves."""
    port = free_port()
    with master(OTHER) as (fpm, resolver):
        fpm.config.write_text(fpm.config.read_text() + named_pool(port))
        resolver.hold()
        done = []
        reload = threading.Thread(target=lambda: done.append(fpm.command("reload", "shop")))
        reload.start()
        resolver.wait_asked()
        status = fpm.status()
        assert (status["pyfpm"]["state"], list(status["pools"])) == ("reloading", ["other"])
        assert fetch(fpm.address("other.sock")).status == 200
        resolver.release(knows=True)
        reload.join(40)
        assert done[0].returncode == 0
        assert fetch(f"127.0.0.1:{port}").status == 200


def test_reload_does_not_ask_for_a_name_whose_listener_is_open():
    """A resolver that is down keeps no running pool from its new code."""
    port = free_port()
    with master(OTHER + named_pool(port)) as (fpm, resolver):
        resolver.release(knows=True)
        wait_until(lambda: is_running(fpm), timeout_s=40)
        resolver.hold()
        assert fpm.command("reload").returncode == 0
        assert not resolver.asked.acquire(blocking=False)
        assert fpm.pool_status("shop")["generation"] == 2


def test_pool_that_is_stopped_while_it_waits_for_a_resolver_does_not_come():
    """The answer is for nobody then; `start-pool` asks again."""
    port = free_port()
    with master(OTHER + named_pool(port)) as (fpm, resolver):
        resolver.hold()
        resolver.wait_asked()
        assert fpm.command("stop", "shop").returncode == 0
        resolver.release(knows=True)
        wait_until(lambda: not askers_of(fpm))
        assert fpm.pool_status("shop")["state"] == "stopped"
        assert fpm.command("start-pool", "shop").returncode == 0
        assert fetch(f"127.0.0.1:{port}").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_service_that_ends_while_it_waits_for_a_resolver_leaves_no_process(number):
    """Told to or not: nobody goes on asking."""
    with master(OTHER + named_pool(free_port())) as (fpm, resolver):
        resolver.hold()
        resolver.wait_asked()
        if number == signal.SIGKILL:
            fpm.kill()
        else:
            assert fpm.stop() == 0


def test_upgrade_while_a_late_pool_waits_for_a_resolver_goes_through():
    """The new code asks anew."""
    port = free_port()
    with master(OTHER + named_pool(port)) as (fpm, resolver):
        resolver.hold()
        resolver.wait_asked()
        upgrade = threading.Thread(target=lambda: fpm.command("upgrade"))
        upgrade.start()
        fpm.log.wait_for("runs in the place of")
        resolver.wait_asked()
        assert fpm.pool_status("other")["state"] in ("running", "reloading")
        resolver.release(knows=True)
        upgrade.join(40)
        wait_until(lambda: is_running(fpm), timeout_s=40)
        assert fetch(f"127.0.0.1:{port}").status == 200
