"""Descriptors that the master sends and nobody reads: the kernel counts them for all pools."""

import asyncio
import os
import shutil
import signal
import socket

import pytest
from harness.fcgi_client import fetch
from harness.hostile_app import GOOD, pool
from harness.machine import IS_ROOT, wait_until
from harness.master import Pyfpm
from harness.processes import children_of, title_of

from pyfpm.kernel.descriptors import receive_with_descriptors
from pyfpm.master.link import ControlLink
from pyfpm.master.orders import Orders
from pyfpm.master.turns import Turns
from pyfpm.master.unread import Unread
from pyfpm.messages import MAX_MESSAGE_BYTES, Spawn, decode_message

STUCK = """\
import ctypes, os, signal, time

libc, ZYGOTE = ctypes.CDLL(None), os.getpid()

def stand_still():
    if os.getpid() != ZYGOTE or not os.path.exists("stuck"):
        return
    if libc.fork() == 0:  # holds the control socket of the zygote, and never reads it
        os.closerange(4, 256)
        time.sleep(3600)
        os._exit(0)
    os.kill(ZYGOTE, signal.SIGSTOP)

os.register_at_fork(before=stand_still)
from torture import app
"""
LEFT = r"that its zygotes or workers left behind hold \d+ descriptors"
CAPABILITIES = "--bounding-set=-all,+setuid,+setgid,+kill,+chown,+dac_override,+fowner"


@pytest.mark.skipif(not IS_ROOT, reason="a root without capabilities is still root")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_orders_that_are_never_read_do_not_keep_other_pools_from_workers():
    """What lies in sockets is bounded, and its own pool gets no more workers until it is gone."""
    bad = pool("bad", "preload = on", "pm.max_spawn_rate = 60", "boot_timeout = 2s", most=40)
    launcher = ["prlimit", "--nofile=400:400", "setpriv", "--inh-caps=-all", CAPABILITIES]
    with Pyfpm(
        bad + GOOD,
        files={"hostile.py": STUCK},
        prepare=lambda folder: (folder / "app" / "stuck").touch(),
        launcher=launcher,
    ) as fpm:
        fpm.log.wait_for(LEFT, timeout_s=30)
        assert fpm.pool_status("bad")["state"] == "degraded"
        for _ in range(3):
            for pid in fpm.worker_pids("good"):
                os.kill(pid, signal.SIGKILL)
            assert fetch(fpm.address("good.sock"), "/pid").status == 200
        (fpm.app / "stuck").unlink()
        for pid in children_of(fpm.process.pid):
            if title_of(pid) == "pyfpm: pool bad zygote":
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: fpm.pool_status("bad")["state"] == "running", timeout_s=30)
        assert fetch(fpm.address("bad.sock"), "/pid").status == 200


class Scene:
    """A zygote's link, and orders for it; the test is the zygote."""

    def __init__(self, unread):
        ours, self.zygote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        share = Turns(1e6, 1e6).join(1e6)
        self.link = ControlLink(ours, lambda message: None, share, unread=unread)
        self.orders = Orders()

    def place(self, serial):
        ours, control = socket.socketpair()
        ours.close()
        descriptors = [control.fileno()] * 4
        self.orders.place(
            self.link, control, lambda: self.link.deliver(Spawn(serial, 0), descriptors)
        )

    def read(self):
        """The serials of the orders that have arrived."""
        found = []
        while True:
            try:
                data, descriptors, _ = receive_with_descriptors(self.zygote, MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return found
            for descriptor in descriptors:
                os.close(descriptor)
            found.append(decode_message(data).serial)


def play(act):
    async def main():
        unread = Unread()
        scene = Scene(unread)
        try:
            act(scene, unread)
        finally:
            scene.orders.close()
            scene.link.close()
            scene.zygote.close()
            unread.close()

    asyncio.run(main())


def test_zygote_is_asked_for_a_few_workers_at_once_and_for_all_in_their_turn():
    """The next leave when those before are read; its word alone changes nothing."""

    def act(scene, unread):
        for serial in range(10):
            scene.place(serial)
        scene.orders.go_on(scene.link)  # it says that it has made one
        assert scene.read() == [0, 1, 2, 3]
        scene.orders.go_on(scene.link)
        assert scene.read() == [4, 5, 6, 7]
        scene.orders.go_on(scene.link)
        scene.place(10)
        assert scene.read() == [8, 9, 10]

    play(act)


def test_orders_that_wait_are_not_lost_where_the_master_is_replaced():
    """Its successor has the workers, and knows of no order that has not left."""

    def act(scene, unread):
        for serial in range(6):
            scene.place(serial)
        scene.orders.flush()
        assert scene.read() == list(range(6))

    play(act)


def test_what_was_left_unread_counts_until_its_last_holder_is_gone():
    """The link is closed, and its other end sees the end after what was sent."""

    def act(scene, unread):
        scene.place(0)
        scene.link.close()
        assert unread.descriptors == 4
        holder = scene.zygote.dup()
        scene.zygote.close()
        assert unread.descriptors == 4
        holder.close()
        assert unread.descriptors == 0

    play(act)


def test_what_was_read_is_not_counted():
    """A link whose orders were read leaves nothing, and the zygote sees it hang up."""

    def act(scene, unread):
        scene.place(0)
        assert scene.read() == [0]
        scene.link.close()
        assert unread.descriptors == 0
        assert scene.zygote.recv(1) == b""

    play(act)
